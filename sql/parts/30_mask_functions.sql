-- What stands in for masked values. A mask runs as the role that reads, hence EXECUTE for
-- PUBLIC; a protected role that names one of these in a statement of its own is denied.
-- None of them raises, whatever the input. NULL in, NULL out.

CREATE FUNCTION mask_partial(value text, keep_first int, keep_last int, pad text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_partial';
COMMENT ON FUNCTION mask_partial(text, int, int, text) IS
'The mask "partial": keeps the first keep_first and last keep_last characters, pad for each one between; a value of at most keep_first + keep_last characters becomes that many pads.';

CREATE FUNCTION mask_email(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_email';
COMMENT ON FUNCTION mask_email(text) IS
'The mask "email": the first character and ***@example.com; *** for what is not an address.';

CREATE FUNCTION mask_hash(value text, length int) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_hash';
COMMENT ON FUNCTION mask_hash(text, int) IS
'The mask "hash": the first length (1 to 64) hex digits of HMAC-SHA-256 under this database''s secret key; NULL if there is no key.';

CREATE FUNCTION mask_hash(value bigint) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_hash_int8';
COMMENT ON FUNCTION mask_hash(bigint) IS
'The mask "hash" for bigint: a number from 0 to 2^63 - 1 out of the HMAC of its decimal text.';

CREATE FUNCTION mask_hash(value uuid) RETURNS uuid
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_hash_uuid';
COMMENT ON FUNCTION mask_hash(uuid) IS
'The mask "hash" for uuid: a version 8 uuid out of the HMAC of its 16 bytes.';

CREATE FUNCTION mask_truncate(value date, unit text) RETURNS date
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_truncate_date';
CREATE FUNCTION mask_truncate(value timestamp, unit text) RETURNS timestamp
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_truncate_timestamp';
CREATE FUNCTION mask_truncate(value timestamptz, unit text) RETURNS timestamptz
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_truncate_timestamp';
COMMENT ON FUNCTION mask_truncate(date, text) IS
'The mask "truncate": the begin of the decade, year, quarter, month or week (Monday). Infinite dates stay; NULL for another unit.';
COMMENT ON FUNCTION mask_truncate(timestamp, text) IS
'The mask "truncate": the begin of the decade, year, quarter, month, week (Monday), day, hour or minute. Infinite ones stay; NULL for another unit.';
COMMENT ON FUNCTION mask_truncate(timestamptz, text) IS
'The mask "truncate": as for timestamp, in UTC whatever TimeZone says (moving it would give raw values away).';

CREATE FUNCTION mask_bucket(value smallint, size int) RETURNS smallint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_bucket_int2';
CREATE FUNCTION mask_bucket(value int, size int) RETURNS int
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_bucket_int4';
CREATE FUNCTION mask_bucket(value bigint, size bigint) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_bucket_int8';
CREATE FUNCTION mask_bucket(value real, size float8) RETURNS real
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_bucket_float4';
CREATE FUNCTION mask_bucket(value float8, size float8) RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_bucket_float8';
COMMENT ON FUNCTION mask_bucket(smallint, int) IS
'The mask "bucket": the greatest multiple of size at or below value; at the low end of the type, its least value. NULL for a size below 1.';
COMMENT ON FUNCTION mask_bucket(int, int) IS
'The mask "bucket": the greatest multiple of size at or below value; at the low end of the type, its least value. NULL for a size below 1.';
COMMENT ON FUNCTION mask_bucket(bigint, bigint) IS
'The mask "bucket": the greatest multiple of size at or below value; at the low end of the type, its least value. NULL for a size below 1.';
COMMENT ON FUNCTION mask_bucket(real, float8) IS
'The mask "bucket": floor(value / size) * size; NaN and infinities stay. NULL unless size is above 0.';
COMMENT ON FUNCTION mask_bucket(float8, float8) IS
'The mask "bucket": floor(value / size) * size; NaN and infinities stay. NULL unless size is above 0.';

CREATE FUNCTION mask_bucket(value numeric, size numeric, lowest numeric) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_bucket_numeric';
COMMENT ON FUNCTION mask_bucket(numeric, numeric, numeric) IS
'The mask "bucket": floor(value / size) * size, or lowest where that is below it; NULL where it is out of range.';

CREATE FUNCTION mask_network(value inet, ipv4 int, ipv6 int) RETURNS inet
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_network';
CREATE FUNCTION mask_network(value cidr, ipv4 int, ipv6 int) RETURNS cidr
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_network';
COMMENT ON FUNCTION mask_network(inet, int, int) IS
'The mask "network": the address''s network of ipv4 (0 to 32) or ipv6 (0 to 128) bits, or its own if that is wider. NULL for other numbers of bits.';
COMMENT ON FUNCTION mask_network(cidr, int, int) IS
'The mask "network": the network of ipv4 (0 to 32) or ipv6 (0 to 128) bits around this one, or itself if that is wider. NULL for other numbers of bits.';

CREATE FUNCTION mask_scrub(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_scrub';
COMMENT ON FUNCTION mask_scrub(text) IS
'The mask "scrub": each piece of personal data and each secret found in the text is replaced by its category, such as [EMAIL], [SSN], [CARD], [PHONE], [API_KEY], [PASSWORD].';

CREATE FUNCTION mask_scrub_json(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_scrub_json';
COMMENT ON FUNCTION mask_scrub_json(text) IS
'The mask "scrub" for the text of a json or jsonb value: strings, keys and numbers in it are scrubbed, the structure stays. A number becomes a string where it is replaced. NULL for a document that is not UTF-8.';

CREATE FUNCTION mask_json(value jsonb, paths text) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_json';
COMMENT ON FUNCTION mask_json(jsonb, text) IS
'The mask "json": values at the given paths are masked, the rest of the document stays. NULL for paths that are none.';

CREATE FUNCTION mask_each(value anyarray, mask regprocedure) RETURNS anyarray
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_each';
CREATE FUNCTION mask_each(value anyarray, mask regprocedure, VARIADIC options "any") RETURNS anyarray
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_each';
COMMENT ON FUNCTION mask_each(anyarray, regprocedure) IS
'A mask of arrays: one of the functions agent_policy.mask_... applied to each element; NULL for any other function.';
COMMENT ON FUNCTION mask_each(anyarray, regprocedure, VARIADIC "any") IS
'The same for a mask with options.';
