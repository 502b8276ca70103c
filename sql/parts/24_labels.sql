-- Masks by label: SECURITY LABEL FOR agent_policy says what a column is, these say what that hides.

CREATE FUNCTION _check_label_target(label text, mask text, options jsonb, role regrole) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM agent_policy._require(_check_label_target.label, 'label', 'mask_label');
    PERFORM agent_policy._require(_check_label_target.mask, 'mask', 'mask_label');
    PERFORM agent_policy._require(_check_label_target.options, 'options', 'mask_label');
    IF btrim(_check_label_target.label) = '' OR octet_length(_check_label_target.label) > 63
       OR _check_label_target.label ~ '[[:cntrl:]]' THEN
        RAISE EXCEPTION 'mask_label: "%" is not a label of a column', _check_label_target.label
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Use a word of at most 63 bytes, such as email.';
    END IF;
    PERFORM agent_policy._require_mask_role(_check_label_target.role, 'mask_label');
END
$$;

CREATE FUNCTION _store_label(label text, mask text, options jsonb, role regrole) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._check_label_target(_store_label.label, _store_label.mask, _store_label.options, _store_label.role);
    INSERT INTO agent_policy.policy_label (role, label, mask, options, definer)
    VALUES (coalesce(_store_label.role, '-'), _store_label.label, _store_label.mask, _store_label.options::text,
            agent_policy._author(0, _store_label.label, _store_label.mask, _store_label.options::text))
    ON CONFLICT ON CONSTRAINT policy_label_pkey
        DO UPDATE SET mask = excluded.mask, options = excluded.options, definer = excluded.definer;
    PERFORM agent_policy._record('mask_label', jsonb_build_object(
        'label', _store_label.label, 'mask', _store_label.mask, 'options', _store_label.options,
        'role', _store_label.role::text));
END
$$;

-- With the caller's rights: a constant is read by the types of the columns that have the label.
CREATE FUNCTION mask_label(label text, mask text, options jsonb DEFAULT '{}', role regrole DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM agent_policy._check_label_target(mask_label.label, mask_label.mask, mask_label.options, mask_label.role);
    PERFORM agent_policy._check_label(mask_label.label, mask_label.mask, mask_label.options::text);
    PERFORM agent_policy._store_label(mask_label.label, mask_label.mask, mask_label.options, mask_label.role);
END
$$;
COMMENT ON FUNCTION mask_label(text, text, jsonb, regrole) IS
'What protected roles see of every column with a security label: SECURITY LABEL FOR agent_policy ON COLUMN sales.customers.mail IS ''email''.
label: the word. mask, options: as for mask_column, without expression. role: NULL (default) means every protected role; a role''s own mask beats that one. A mask set with mask_column beats that of a label.
A label without a mask hides nothing, and counts as a classification for unclassified_columns.
Errors: 22023 unknown mask or option; 42804 the mask does not fit a column that has the label (setting a label on a column that its mask does not fit is refused likewise); 42501 the type of such a column is in a schema that the caller may not use.
Example: SELECT agent_policy.mask_label(''email'', ''email'');';

CREATE FUNCTION unmask_label(label text, role regrole DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require(unmask_label.label, 'label', 'unmask_label');
    DELETE FROM agent_policy.policy_label l
     WHERE l.role = coalesce(unmask_label.role, '-') AND l.label = unmask_label.label;
    IF NOT FOUND THEN
        PERFORM agent_policy._notice_absent(format('label "%s" has no mask for %s', unmask_label.label,
            CASE WHEN unmask_label.role IS NULL THEN 'every protected role'
                 ELSE format('role "%s"', unmask_label.role) END));
        RETURN;
    END IF;
    PERFORM agent_policy._record('unmask_label', jsonb_build_object(
        'label', unmask_label.label, 'role', unmask_label.role::text));
END
$$;
COMMENT ON FUNCTION unmask_label(text, regrole) IS
'Removes a mask set by mask_label for the same role (NULL, the default: the one for every protected role); the labels stay on their columns. A NOTICE if there is none.
Example: SELECT agent_policy.unmask_label(''email'');';
