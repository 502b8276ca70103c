//! Keys, tokens and passwords.

use super::{Random, URL, WORD, pick, plain};

fn key(r: &mut Random) -> String {
    match r.below(12) {
        0 => format!("AKIA{}", r.from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
        1 => format!("ghp_{}", r.from(WORD, 36)),
        2 => format!("glpat-{}", r.from(URL, 19) + "7"),
        3 => format!("AIza{}", r.from(URL, 34) + "x"),
        4 => format!(
            "xoxb-{}-{}-{}",
            r.digits(12),
            r.digits(12),
            r.from(WORD, 24)
        ),
        5 => format!("sk_live_{}", r.from(WORD, 24)),
        6 => format!("sk-proj-{}", r.from(URL, 47) + "3"),
        7 => format!("sk-ant-api03-{}AA", r.from(URL, 93)),
        8 => format!("npm_{}", r.from(WORD, 36)),
        9 => format!(
            "hf_{}",
            r.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 34)
        ),
        10 => format!("SG.{}.{}", r.from(URL, 22), r.from(URL, 42) + "q"),
        _ => format!("dapi{}", r.hex(32)),
    }
}

pub fn api_key(r: &mut Random) -> (String, String) {
    (
        pick(r, &["use ", "key ", "export K=", "", "token: ", "leaked "]),
        key(r),
    )
}

pub fn jwt(r: &mut Random) -> (String, String) {
    (
        pick(r, &["Authorization: Bearer ", "jwt ", "", "token="]),
        format!(
            "eyJhbGciOi{}.eyJzdWIi{}.{}",
            r.from(URL, 18),
            r.from(URL, 40),
            r.from(URL, 42) + "x"
        ),
    )
}

pub fn private_key(r: &mut Random) -> (String, String) {
    let kind = pick(r, &["RSA ", "EC ", "OPENSSH ", ""]);
    (
        plain(r),
        format!(
            "-----BEGIN {kind}PRIVATE KEY-----\n{}\n{}\n-----END {kind}PRIVATE KEY-----",
            r.from(WORD, 64),
            r.from(WORD, 40)
        ),
    )
}

pub fn password(r: &mut Random) -> (String, String) {
    let value = match r.below(3) {
        0 => format!(
            "{}{}!",
            r.from("abcdefghkmnp", 1).to_uppercase() + &r.from("bcdfghjkmnpqrstvwxz", 5),
            r.digits(3)
        ),
        1 => r.from(WORD, 20) + "a7",
        _ => format!("{}#{}", r.from("abcdefghijkmnopqrstuvwxyz", 7), r.digits(3)),
    };
    (
        pick(
            r,
            &[
                "password=",
                "Password: ",
                "my password is ",
                "\"client_secret\": \"",
                "DB_PASSWORD=",
                "pwd=",
                "api_key: ",
                "secretKey='",
            ],
        ),
        value,
    )
}
