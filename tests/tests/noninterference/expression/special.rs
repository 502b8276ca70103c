//! What has a syntax of its own, type by type.

use super::Gen;
use crate::model::Ty;
use cluster_tests::sql::literal;

impl Gen<'_> {
    pub(super) fn special(&mut self, ty: Ty) -> String {
        let v = self.model.version;
        let of = self.some_type();
        let lax = self.random.word(&[
            "",
            " ERROR ON ERROR",
            " NULL ON EMPTY",
            " DEFAULT '1' ON ERROR",
        ]);
        let path = literal(self.random.word(&[
            "$",
            "$.pin",
            "$.card",
            "$.k",
            "strict $.nope",
            "$.list[0]",
            "$[*] ? (@ > 1)",
            "$.*",
        ]));
        match ty {
            "text" => match self.random.below(22) {
                0 => format!(
                    "substring({} from {} for {})",
                    self.expression("text"),
                    self.value("int4"),
                    self.expression("int4")
                ),
                1 => format!(
                    "substring({} from {})",
                    self.expression("text"),
                    self.value("text")
                ),
                2 => format!(
                    "overlay({} placing {} from 2 for 1)",
                    self.expression("text"),
                    self.expression("text")
                ),
                3 => format!(
                    "trim(both {} from {})",
                    self.value("text"),
                    self.expression("text")
                ),
                4 => format!(
                    "format({}, {}, {})",
                    self.random
                        .word(&["'%s-%s'", "'%I.%L'", "'%2$s %1$s'", "'%s %q'"]),
                    self.expression("text"),
                    self.expression(of)
                ),
                5 => format!(
                    "concat_ws('/', {}, {}, {})",
                    self.expression("text"),
                    self.expression(of),
                    self.expression("int4")
                ),
                6 => format!(
                    "({})[{}]",
                    self.expression("_text"),
                    self.expression("int4")
                ),
                7 => format!("({} ->> {})", self.expression("jsonb"), self.value("text")),
                8 => format!(
                    "({} COLLATE {})",
                    self.expression("text"),
                    self.random
                        .word(&["\"C\"", "\"POSIX\"", "\"ucs_basic\"", "\"default\""])
                ),
                9 => format!(
                    "to_char({}, {})",
                    self.expression(of),
                    self.random
                        .word(&["'YYYY-MM-DD'", "'999.99'", "'HH24 J Q'", "'RN'", "'EEEE'"])
                ),
                10 => format!(
                    "regexp_replace({}, {}, '<\\&>', 'g')",
                    self.expression("text"),
                    self.value("text")
                ),
                11 => format!(
                    "split_part({}, {}, {})",
                    self.expression("text"),
                    self.value("text"),
                    self.value("int4")
                ),
                12 => match self.some_source() {
                    Some(source) => match self.random.below(6) {
                        0 => format!("{}::text", source.alias),
                        1 => format!("row_to_json({})::text", source.alias),
                        2 => format!("md5({}::text)", source.alias),
                        3 => format!("lab.person_text({})", source.alias),
                        4 if source.relation => {
                            format!("{}.tableoid::regclass::text", source.alias)
                        }
                        5 if source.relation => format!(
                            "{}.{}::text",
                            source.alias,
                            self.random.word(&["ctid", "cmin", "tableoid"])
                        ),
                        _ => format!("hash_record_extended({}, 1)::text", source.alias),
                    },
                    None => self.leaf(ty),
                },
                13 => format!(
                    "lab.{}({})",
                    self.random.word(&["mail_of", "mail_as_owner"]),
                    self.expression("int4")
                ),
                14 => {
                    let told = std::mem::replace(&mut self.told, true);
                    let query = self.nested(&[Some("text")], true);
                    self.told = told;
                    format!("lab.told({})", literal(&query))
                }
                15 => format!("{}::text", self.expression(of)),
                16 => format!("xmlserialize(CONTENT {} AS text)", self.expression("xml")),
                17 => format!("normalize({}, NFKD)", self.expression("text")),
                18 if v >= 17 => format!(
                    "JSON_VALUE({}, {path} RETURNING text{lax})",
                    self.expression("jsonb")
                ),
                19 if v >= 17 => format!(
                    "JSON_QUERY({}, {path} RETURNING text WITH WRAPPER)",
                    self.expression("jsonb")
                ),
                20 if v >= 17 => {
                    format!("JSON_SERIALIZE({} RETURNING text)", self.expression("json"))
                }
                _ => format!("({} || {})", self.expression("text"), self.expression(of)),
            },
            "int4" => match self.random.below(9) {
                0 => format!("length({})", self.expression("text")),
                1 => format!(
                    "position({} in {})",
                    self.value("text"),
                    self.expression("text")
                ),
                2 => format!(
                    "({} / {})",
                    self.expression("int4"),
                    self.expression("int4")
                ),
                3 => format!(
                    "({} % ({} - {}))",
                    self.expression("int4"),
                    self.expression("int4"),
                    self.value("int4")
                ),
                4 => format!(
                    "({} * {})",
                    self.expression("int4"),
                    self.expression("int4")
                ),
                5 => format!("pg_column_size({})", self.expression(of)),
                6 => format!(
                    "extract({} from {})::int",
                    self.random
                        .word(&["year", "doy", "epoch", "dow", "century"]),
                    self.expression("date")
                ),
                7 => format!("array_length({}, 1)", self.expression("_text")),
                _ => format!(
                    "grouping({})",
                    self.any_column().unwrap_or_else(|| "1".into())
                ),
            },
            "numeric" => match self.random.below(4) {
                0 => format!(
                    "({} / {})",
                    self.expression("numeric"),
                    self.expression("numeric")
                ),
                1 => format!("({} ^ {})", self.expression("numeric"), self.value("int4")),
                2 => format!(
                    "round({}, {})",
                    self.expression("numeric"),
                    self.value("int4")
                ),
                _ => format!("extract(epoch from {})", self.expression("timestamptz")),
            },
            "bool" => self.predicate(),
            "jsonb" => match self.random.below(10) {
                0 => format!(
                    "jsonb_build_object({}, {})",
                    self.expression("text"),
                    self.expression(of)
                ),
                1 => format!(
                    "jsonb_set({}, '{{k}}', {})",
                    self.expression("jsonb"),
                    self.expression("jsonb")
                ),
                2 => format!("({} -> {})", self.expression("jsonb"), self.value("text")),
                3 => format!("({})[{}]", self.expression("jsonb"), self.value("text")),
                4 => format!(
                    "to_jsonb({})",
                    self.some_source().map_or("1".into(), |s| s.alias)
                ),
                5 => format!(
                    "jsonb_path_query_array({}, {path})",
                    self.expression("jsonb")
                ),
                6 if v >= 16 => format!(
                    "JSON_OBJECT({} : {} ABSENT ON NULL WITH UNIQUE KEYS RETURNING jsonb)",
                    self.expression("text"),
                    self.expression(of)
                ),
                7 if v >= 16 => format!(
                    "JSON_ARRAY({}, {} NULL ON NULL RETURNING jsonb)",
                    self.expression(of),
                    self.expression("text")
                ),
                8 if v >= 17 => format!(
                    "JSON_QUERY({}, {path}{})",
                    self.expression("jsonb"),
                    self.random.word(&["", " WITH WRAPPER", " KEEP QUOTES"])
                ),
                9 if v >= 17 => format!("JSON({})::jsonb", self.expression("text")),
                _ => format!("({} - {})", self.expression("jsonb"), self.value("text")),
            },
            "_text" => match self.random.below(4) {
                0 => format!(
                    "ARRAY[{}, {}]",
                    self.expression("text"),
                    self.expression("text")
                ),
                1 => format!(
                    "string_to_array({}, {})",
                    self.expression("text"),
                    self.value("text")
                ),
                2 => format!("({})[1:{}]", self.expression("_text"), self.value("int4")),
                _ => format!(
                    "regexp_split_to_array({}, {})",
                    self.expression("text"),
                    self.value("text")
                ),
            },
            "xml" => match self.random.below(6) {
                0 => format!(
                    "xmlelement(name x, xmlattributes({} AS a), {})",
                    self.expression("text"),
                    self.expression(of)
                ),
                1 => format!(
                    "xmlforest({} AS p, {} AS q)",
                    self.expression("text"),
                    self.expression(of)
                ),
                2 => format!(
                    "xmlconcat({}, {})",
                    self.expression("xml"),
                    self.value("xml")
                ),
                3 => format!(
                    "xmlparse({} {})",
                    self.random.word(&["CONTENT", "DOCUMENT"]),
                    self.expression("text")
                ),
                4 => format!("xmlpi(name php, {})", self.expression("text")),
                _ => {
                    let told = std::mem::replace(&mut self.told, true);
                    let query = self.nested(&[None], false);
                    self.told = told;
                    format!("query_to_xml({}, true, false, '')", literal(&query))
                }
            },
            "timestamptz" => format!(
                "({} AT TIME ZONE {})::timestamptz",
                self.expression("timestamptz"),
                self.random.word(&["'UTC'", "'Asia/Tokyo'", "'nowhere'"])
            ),
            "date" => format!(
                "make_date({}, {}, {})",
                self.expression("int4"),
                self.value("int4"),
                self.expression("int4")
            ),
            "tsvector" => format!(
                "to_tsvector({}, {})",
                self.random.word(&["'simple'", "'english'"]),
                self.expression("text")
            ),
            "tsquery" => format!(
                "{}({})",
                self.random.word(&[
                    "to_tsquery",
                    "plainto_tsquery",
                    "websearch_to_tsquery",
                    "phraseto_tsquery"
                ]),
                self.expression("text")
            ),
            "int4range" => format!(
                "int4range({}, {}, '[)')",
                self.expression("int4"),
                self.expression("int4")
            ),
            "uuid" => format!("md5({})::uuid", self.expression("text")),
            "bytea" => format!(
                "{}({}, 'UTF8')",
                self.random.word(&["convert_to"]),
                self.expression("text")
            ),
            "regclass" | "oid" => format!("({})::regclass", self.expression("text")),
            _ => self.cast(ty),
        }
    }
}
