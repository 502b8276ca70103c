//! How people and machines are reached, and when people were born.

use super::{MONTHS, NAMES, Random, pick, plain};

pub fn email(r: &mut Random) -> (String, String) {
    let domain = pick(
        r,
        &[
            "example.com",
            "mail.example.co.uk",
            "firma.de",
            "uni-köln.de",
            "sub.domain.org",
            "x.io",
        ],
    );
    let tag = pick(r, &["", "+news", "2", ".x", "_91"]);
    (plain(r), format!("{}{tag}@{domain}", pick(r, &NAMES)))
}

pub fn phone(r: &mut Random) -> (String, String) {
    match r.below(6) {
        0 => (
            plain(r),
            format!(
                "+1 {}-{}-{}",
                r.range(201, 989),
                r.range(200, 999),
                r.digits(4)
            ),
        ),
        1 => (
            plain(r),
            format!("+44 20 {} {}", r.range(7000, 7999), r.digits(4)),
        ),
        2 => (
            plain(r),
            format!("+49{}", r.range(15_100_000_000, 17_999_999_999) / 10),
        ),
        3 => (
            plain(r),
            format!(
                "({}) {}-{}",
                r.range(201, 989),
                r.range(200, 999),
                r.digits(4)
            ),
        ),
        4 => (
            pick(
                r,
                &[
                    "call me at ",
                    "phone: ",
                    "Tel. ",
                    "mobile ",
                    "\"phone\": \"",
                    "fax ",
                ],
            ),
            format!(
                "{}-{}-{}",
                r.range(201, 989),
                r.range(200, 999),
                r.digits(4)
            ),
        ),
        _ => (
            pick(
                r,
                &["ring me on ", "tel ", "mobile number is ", "contact: "],
            ),
            format!("07{} {}", r.digits(3), r.digits(6)),
        ),
    }
}

pub fn ip_address(r: &mut Random) -> (String, String) {
    if r.below(4) == 0 {
        (
            pick(r, &["from ", "host ", "client=", ""]),
            format!("2001:db8:{:x}::{:x}", r.range(1, 65535), r.range(1, 65535)),
        )
    } else {
        (
            pick(r, &["from ", "login at ", "client_ip=", "", "host "]),
            format!(
                "{}.{}.{}.{}",
                r.range(1, 126),
                r.below(256),
                r.below(256),
                r.range(1, 254)
            ),
        )
    }
}

pub fn mac_address(r: &mut Random) -> (String, String) {
    let separator = pick(r, &[":", "-"]);
    let pairs: Vec<String> = (0..6)
        .map(|i| if i == 0 { "a4".into() } else { r.hex(2) })
        .collect();
    (plain(r), pairs.join(&separator))
}

pub fn birth_date(r: &mut Random) -> (String, String) {
    let (y, m, d) = (r.range(1930, 2015), r.range(1, 12), r.range(1, 28));
    let value = match r.below(6) {
        0 => format!("{d:02}/{m:02}/{y}"),
        1 => format!("{d:02}.{m:02}.{y}"),
        2 => format!("{d} {} {y}", MONTHS[m as usize - 1]),
        3 => format!("{} {d}, {y}", MONTHS[m as usize - 1]),
        _ => format!("{y}-{m:02}-{d:02}"),
    };
    (
        pick(
            r,
            &[
                "born ",
                "DOB: ",
                "date of birth ",
                "\"birth_date\": \"",
                "birthday is ",
                "dateOfBirth=",
            ],
        ),
        value,
    )
}
