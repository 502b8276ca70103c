//! Numbers of national documents.

use super::{Random, UPPER, checked, pick, plain, weighted};

fn nhs_text(r: &mut Random) -> String {
    let number = checked(
        r,
        |r| format!("{}{}", r.range(4, 7), r.digits(8)),
        |d| (11 - weighted(&d[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11 == d[9],
    );
    if r.below(2) == 0 {
        number
    } else {
        format!("{} {} {}", &number[..3], &number[3..6], &number[6..])
    }
}

fn verhoeff(digits: &[u32]) -> bool {
    const D: [[u32; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const P: [[u32; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    digits
        .iter()
        .rev()
        .enumerate()
        .fold(0, |c, (i, d)| D[c as usize][P[i % 8][*d as usize] as usize])
        == 0
}

pub fn nino(r: &mut Random) -> (String, String) {
    let letters = format!(
        "{}{}",
        r.from("ABCEGHJKLMPRSTWXY", 1),
        r.from("ACEHJLMPRSWXY", 1)
    );
    let last = r.from("ABCD", 1);
    if r.below(2) == 0 {
        (
            pick(
                r,
                &[
                    "NI number ",
                    "National Insurance number: ",
                    "nino=",
                    "NINO ",
                ],
            ),
            format!("{letters}{}{last}", r.digits(6)),
        )
    } else {
        (
            plain(r),
            format!(
                "{letters} {} {} {} {last}",
                r.digits(2),
                r.digits(2),
                r.digits(2)
            ),
        )
    }
}

pub fn nhs(r: &mut Random) -> (String, String) {
    (
        pick(r, &["NHS number ", "NHS no: ", "nhs_number=", "nhs "]),
        nhs_text(r),
    )
}

pub fn aadhaar(r: &mut Random) -> (String, String) {
    let number = checked(
        r,
        |r| format!("{}{}", r.range(2, 9), r.digits(10)),
        verhoeff,
    );
    let shown = if r.below(2) == 0 {
        number
    } else {
        format!("{} {} {}", &number[..4], &number[4..8], &number[8..])
    };
    (
        pick(
            r,
            &["Aadhaar ", "aadhaar number: ", "UIDAI ", "aadhaar_no="],
        ),
        shown,
    )
}

pub fn pan(r: &mut Random) -> (String, String) {
    (
        pick(r, &["PAN ", "PAN card ", "pan: ", "pan_number="]),
        format!(
            "{}{}{}{}{}",
            r.from(UPPER, 3),
            r.from("PCHF", 1),
            r.from(UPPER, 1),
            r.digits(4),
            r.from(UPPER, 1)
        ),
    )
}

pub fn pesel(r: &mut Random) -> (String, String) {
    let number = checked(
        r,
        |r| {
            format!(
                "{:02}{:02}{:02}{}",
                r.below(100),
                r.range(1, 12),
                r.range(1, 28),
                r.digits(4)
            )
        },
        |d| weighted(d, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10),
    );
    (pick(r, &["PESEL ", "pesel: ", "PESEL="]), number)
}

pub fn passport(r: &mut Random) -> (String, String) {
    let number = match r.below(3) {
        0 => r.digits(9),
        1 => format!("{}{}", r.from("CFGHJK", 1), r.digits(8)),
        _ => format!("{}{}", r.from(UPPER, 2), r.digits(7)),
    };
    (
        pick(
            r,
            &[
                "passport ",
                "passport number: ",
                "Passport No. ",
                "passport_no=",
            ],
        ),
        number,
    )
}
