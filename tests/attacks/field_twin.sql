-- The hidden values once more, of the same length and in the same places: as they are in the first world, or
-- other ones in its twin.
SET session_replication_role = replica;
UPDATE shop.customers SET
    email = translate(email, '0123456789', '@digits@'), ssn = '811-22-' || translate(right(ssn, 4), '0123456789', '@turned@'),
    phone = '+44-7700-9' || translate(right(phone, 5), '0123456789', '@turned@'), born = born + @n@,
    salary = salary + @n@, note = 'QUAGGA ' || translate(substr(note, 8), '0123456789', '@turned@'),
    profile = jsonb_set(profile, '{level}', to_jsonb(((profile ->> 'level')::int + @n@) % 5));
UPDATE shop.events SET email = translate(email, '0123456789', '@digits@'), payload = translate(payload, '0123456789', '@turned@');
UPDATE shop.tickets SET body = translate(body, '0123456789', '@turned@') WHERE owner <> 'alice@example.com';
UPDATE shop.staff SET badge = 'QUAGGA badge ' || translate(substr(badge, 14), '0123456789', '@digits@');
UPDATE shop.computed SET email = translate(email, '0123456789', '@digits@');
UPDATE shop.both SET email = translate(email, '0123456789', '@digits@'), nick = translate(nick, 'cikn', '@letters@');
UPDATE shop.hidden SET token = replace(token, 'hidden', '@hidden@');
UPDATE vault.secrets SET token = replace(token, 'vault', '@vault@');
REFRESH MATERIALIZED VIEW shop.contacts;
REFRESH MATERIALIZED VIEW shop.listed;
-- The rows lie in the same order in both.
CLUSTER shop.customers USING customers_pkey;
CLUSTER shop.tickets USING tickets_pkey;
CLUSTER shop.staff USING staff_pkey;
CLUSTER shop.computed USING computed_pkey;
RESET session_replication_role;
ANALYZE;
