//! Numbers of people and accounts.

use super::{Random, UPPER, checked, pick, plain, weighted};

fn luhn_check(body: &str) -> u32 {
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let d = u32::from(b - b'0');
            if i % 2 == 0 {
                if d > 4 { d * 2 - 9 } else { d * 2 }
            } else {
                d
            }
        })
        .sum();
    (10 - sum % 10) % 10
}

fn card_text(r: &mut Random) -> String {
    let (prefix, length) = match r.below(5) {
        0 => (format!("{}", r.range(51, 55)), 16),
        1 => ("37".into(), 15),
        2 => ("6011".into(), 16),
        _ => ("4".into(), 16),
    };
    let body = format!("{prefix}{}", r.digits(length - 1 - prefix.len()));
    let whole = format!("{body}{}", luhn_check(&body));
    let groups: &[usize] = if length == 15 {
        &[4, 6, 5]
    } else {
        &[4, 4, 4, 4]
    };
    match r.below(3) {
        0 => whole,
        n => {
            let separator = if n == 1 { " " } else { "-" };
            let mut at = 0;
            groups
                .iter()
                .map(|g| {
                    at += g;
                    whole[at - g..at].to_owned()
                })
                .collect::<Vec<_>>()
                .join(separator)
        }
    }
}

fn iban_text(r: &mut Random) -> String {
    let (country, bban) = match r.below(4) {
        0 => ("DE", r.digits(18)),
        1 => ("GB", format!("{}{}", r.from(UPPER, 4), r.digits(14))),
        2 => ("FR", r.digits(23)),
        _ => ("NL", format!("{}{}", r.from(UPPER, 4), r.digits(10))),
    };
    let remainder = format!("{bban}{country}00").bytes().fold(0_u32, |n, b| {
        (match b {
            b'0'..=b'9' => n * 10 + u32::from(b - b'0'),
            _ => n * 100 + u32::from(b - b'A') + 10,
        }) % 97
    });
    let whole = format!("{country}{:02}{bban}", 98 - remainder);
    if r.below(2) == 0 {
        whole
    } else {
        whole
            .as_bytes()
            .chunks(4)
            .map(|c| String::from_utf8_lossy(c).into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

pub fn ssn(r: &mut Random) -> (String, String) {
    let (a, g, s) = (r.range(1, 665), r.range(1, 99), r.range(1, 9999));
    match r.below(4) {
        0 => (
            pick(
                r,
                &["SSN: ", "ssn=", "social security number is ", "\"ssn\": \""],
            ),
            format!("{a:03}{g:02}{s:04}"),
        ),
        1 => (plain(r), format!("{a:03} {g:02} {s:04}")),
        2 => (
            pick(r, &["ITIN ", "tin "]),
            format!("9{:02}-{}-{s:04}", r.below(100), r.range(70, 88)),
        ),
        _ => (plain(r), format!("{a:03}-{g:02}-{s:04}")),
    }
}

pub fn card(r: &mut Random) -> (String, String) {
    (
        pick(
            r,
            &[
                "card ",
                "paid with ",
                "",
                "Visa: ",
                "cc_number=",
                "{\"pan\":\"",
                "charged ",
            ],
        ),
        card_text(r),
    )
}

pub fn iban(r: &mut Random) -> (String, String) {
    (
        pick(r, &["IBAN ", "transfer to ", "", "iban=", "account: "]),
        iban_text(r),
    )
}

pub fn routing_number(r: &mut Random) -> (String, String) {
    let number = checked(
        r,
        |r| format!("{:02}{}", r.range(1, 12), r.digits(6)),
        |d| weighted(d, &[3, 7, 1]).is_multiple_of(10),
    );
    (
        pick(
            r,
            &[
                "routing number ",
                "ABA ",
                "routing: ",
                "RTN=",
                "ach routing no. ",
            ],
        ),
        number,
    )
}
