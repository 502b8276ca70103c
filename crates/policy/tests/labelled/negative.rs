//! What merely looks like personal data or a secret.

use super::{MONTHS, Random, UPPER, WORD};

pub fn negative(r: &mut Random, kind: usize) -> (&'static str, String) {
    let month = |r: &mut Random| r.range(1, 12);
    match kind {
        0 => (
            "order number",
            format!(
                "order {}-{:06} shipped",
                r.one(&["ORD", "SO", "PO", "A"]),
                r.below(1_000_000)
            ),
        ),
        1 => (
            "long order number",
            format!("order {} confirmed", r.digits(16)),
        ),
        2 => (
            "uuid",
            format!(
                "id {}-{}-4{}-a{}-{}",
                r.hex(8),
                r.hex(4),
                r.hex(3),
                r.hex(3),
                r.hex(12)
            ),
        ),
        3 => ("md5 or sha", {
            let n = *[32_usize, 40, 64].get(r.below(3) as usize).unwrap_or(&32);
            format!("checksum {}", r.hex(n))
        }),
        4 => (
            "timestamp",
            format!(
                "at 20{:02}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z done",
                r.range(10, 29),
                month(r),
                r.range(1, 28),
                r.below(24),
                r.below(60),
                r.below(60),
                r.below(1000)
            ),
        ),
        5 => (
            "epoch",
            format!("ts={} ok", r.range(1_500_000_000_000, 1_799_999_999_999)),
        ),
        6 => (
            "date",
            format!(
                "delivered on {:02}/{:02}/20{:02}",
                r.range(1, 28),
                month(r),
                r.range(10, 29)
            ),
        ),
        7 => (
            "time of day",
            format!(
                "from {:02}:{:02}:{:02} to {:02}:{:02}:{:02}",
                r.below(24),
                r.below(60),
                r.below(60),
                r.below(24),
                r.below(60),
                r.below(60)
            ),
        ),
        8 => (
            "version",
            format!(
                "{} {}.{}.{}.{}",
                r.one(&["version", "firmware", "release", "build"]),
                r.below(20),
                r.below(20),
                r.below(200),
                r.below(200)
            ),
        ),
        9 => (
            "short version",
            format!(
                "upgrade to v{}.{}.{}",
                r.below(20),
                r.below(20),
                r.below(20)
            ),
        ),
        10 => (
            "price",
            format!(
                "total {}.{:02} EUR, {},{:03} units",
                r.below(100_000),
                r.below(100),
                r.range(1, 999),
                r.below(1000)
            ),
        ),
        11 => (
            "handle",
            format!(
                "thanks @{} for #{}",
                r.one(&["anna", "db_admin", "chen"]),
                r.below(100_000)
            ),
        ),
        12 => (
            "address without domain",
            format!(
                "{}@{} failed",
                r.one(&["root", "postgres", "app"]),
                r.one(&["localhost", "db1", "host"])
            ),
        ),
        13 => (
            "retina file",
            format!("see logo{}@2x.png and icon@3x.jpg", r.below(100)),
        ),
        14 => (
            "package",
            format!(
                "npm install @types/node@{}.{}.{}",
                r.below(20),
                r.below(20),
                r.below(20)
            ),
        ),
        15 => (
            "like an IBAN",
            format!("ref {}{} booked", r.one(&["DE", "GB", "NL", "FR"]), {
                let mut d = r.digits(20);
                d.replace_range(0..2, "01");
                d
            }),
        ),
        16 => (
            "product code",
            format!(
                "part {}{}-{} in stock",
                r.from(UPPER, 2),
                r.digits(6),
                r.from(UPPER, 1)
            ),
        ),
        17 => (
            "isbn",
            format!(
                "ISBN 978-{}-{}-{}-{}",
                r.below(9),
                r.digits(4),
                r.digits(4),
                r.below(9)
            ),
        ),
        18 => (
            "nine digits",
            format!("member {} renewed", r.range(100_000_000, 999_999_999)),
        ),
        19 => (
            "ten digits",
            format!("case {} closed", r.range(1_000_000_000, 9_999_999_999)),
        ),
        20 => (
            "coordinates",
            format!(
                "at {}.{}, -{}.{}",
                r.range(10, 89),
                r.digits(6),
                r.range(10, 179),
                r.digits(6)
            ),
        ),
        21 => (
            "path",
            format!(
                "/var/lib/{}/{}/{}.log",
                r.one(&["pg", "app", "x"]),
                r.hex(8),
                r.below(1000)
            ),
        ),
        22 => (
            "scope",
            format!(
                "{}::{}::new({})",
                r.one(&["std", "ab", "face", "cafe"]),
                r.one(&["vec", "cd", "bad", "fmt"]),
                r.below(10)
            ),
        ),
        23 => (
            "ratio",
            format!("odds {}:{}:{}", r.below(100), r.below(100), r.below(100)),
        ),
        24 => (
            "secret as a word",
            format!(
                "the password {} {}",
                r.one(&[
                    "is required",
                    "policy",
                    "was changed",
                    "field is empty",
                    "reset page"
                ]),
                r.one(&["today", "again", "for all users", "now"])
            ),
        ),
        25 => (
            "place holder",
            format!(
                "password={}",
                r.one(&[
                    "${DB_PASSWORD}",
                    "********",
                    "<redacted>",
                    "changeme",
                    "null",
                    "your-password-here",
                    "[REDACTED]"
                ])
            ),
        ),
        26 => (
            "code",
            format!(
                "token = {}",
                r.one(&[
                    "next_token(stream)",
                    "get_secret_value()",
                    "parser.peek()",
                    "tokens[i]",
                    "request.token",
                    "self.token"
                ])
            ),
        ),
        27 => (
            "git remote",
            format!("git@github.com:acme/repo{}.git", r.below(1000)),
        ),
        28 => ("base64", format!("data {}==", r.from(WORD, 30))),
        29 => (
            "plain number",
            format!(
                "{} rows, {} pages, {} ms",
                r.below(10_000_000),
                r.below(100_000),
                r.below(10_000)
            ),
        ),
        30 => (
            "dashed id",
            format!("ticket {}-{}-{}", r.digits(4), r.digits(4), r.digits(2)),
        ),
        31 => (
            "impossible ssn",
            format!(
                "code {}-{}-{}",
                r.one(&["000", "666", "900", "987"]),
                r.one(&["00", "12", "45"]),
                r.digits(4)
            ),
        ),
        32 => (
            "month without birth",
            format!(
                "meeting on {} {}, 20{:02}",
                MONTHS[r.below(12) as usize],
                r.range(1, 28),
                r.range(10, 29)
            ),
        ),
        33 => (
            "sum",
            format!(
                "+{}.{}% since {}",
                r.below(100),
                r.below(100),
                r.range(1990, 2025)
            ),
        ),
        34 => (
            "arithmetic",
            format!(
                "x = ({} + {}) - {}",
                r.below(10_000),
                r.below(10_000),
                r.below(10_000)
            ),
        ),
        35 => (
            "oid",
            format!("oid 1.3.6.1.4.1.{}.{}", r.below(50_000), r.below(100)),
        ),
        36 => (
            "localhost",
            format!(
                "listening on {}",
                r.one(&[
                    "127.0.0.1:5432",
                    "0.0.0.0:80",
                    "[::1]:8080",
                    "255.255.255.0"
                ])
            ),
        ),
        37 => (
            "phone word without a number",
            format!("call {} people by {}", r.below(5000), r.range(1, 12)),
        ),
        38 => (
            "card word without a number",
            format!("card ending in {}", r.digits(4)),
        ),
        _ => (
            "sku",
            format!("SKU {}-{}-{}", r.digits(3), r.from(UPPER, 3), r.digits(5)),
        ),
    }
}

/// How many kinds there are.
pub const KINDS: usize = 40;
