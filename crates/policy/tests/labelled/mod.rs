//! A labelled set for the classifier: sentences that hold one piece of personal data or one secret,
//! and sentences that hold what merely looks like it. Made from templates by a seeded generator, so
//! it is the same everywhere.

use policy::sensitive::Category;

/// One text; what it holds, if anything, and where.
pub struct Example {
    pub text: String,
    pub label: Option<(Category, usize, usize)>,
    /// The kind of negative.
    pub kind: &'static str,
}

/// xorshift64*
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len() as u64) as usize]
    }

    pub fn from(&mut self, alphabet: &str, length: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..length)
            .map(|_| letters[self.below(letters.len() as u64) as usize])
            .collect()
    }

    fn digits(&mut self, length: usize) -> String {
        self.from("0123456789", length)
    }

    fn hex(&mut self, length: usize) -> String {
        self.from("0123456789abcdef", length)
    }
}

const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
const NAMES: [&str; 12] = [
    "anna",
    "bjørn",
    "chen.wei",
    "d.ortiz",
    "emeka",
    "fatima_z",
    "g-lopez",
    "h.okafor",
    "ines",
    "jan.novak",
    "k.tanaka",
    "lea.müller",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

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

fn card(r: &mut Random) -> String {
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

fn iban(r: &mut Random) -> String {
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

/// A body and the check digit that makes it pass, found by trying.
fn checked(
    r: &mut Random,
    body: impl Fn(&mut Random) -> String,
    passes: impl Fn(&[u32]) -> bool,
) -> String {
    loop {
        let body = body(r);
        for last in 0..10 {
            let whole = format!("{body}{last}");
            let digits: Vec<u32> = whole.bytes().map(|b| u32::from(b - b'0')).collect();
            if passes(&digits) {
                return whole;
            }
        }
    }
}

fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits
        .iter()
        .zip(weights.iter().cycle())
        .map(|(d, w)| d * w)
        .sum()
}

fn nhs(r: &mut Random) -> String {
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

fn positive(r: &mut Random, category: Category) -> (String, String, String) {
    let pick = |r: &mut Random, of: &[&str]| r.one(of).to_owned();
    let plain = |r: &mut Random| {
        pick(
            r,
            &[
                "Customer wrote: ",
                "note: ",
                "",
                "Re: ",
                "{\"value\": \"",
                "see ",
                "(",
                "| ",
            ],
        )
    };
    let tail = |r: &mut Random| {
        pick(
            r,
            &[
                "",
                ".",
                " and more",
                "\"}",
                ", thanks",
                ")",
                "\n--\nBest",
                " please",
            ],
        )
    };
    let (before, value) = match category {
        Category::Email => {
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
        Category::Ssn => {
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
        Category::Card => (
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
            card(r),
        ),
        Category::Iban => (
            pick(r, &["IBAN ", "transfer to ", "", "iban=", "account: "]),
            iban(r),
        ),
        Category::RoutingNumber => {
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
        Category::Phone => match r.below(6) {
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
        },
        Category::IpAddress => {
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
        Category::MacAddress => {
            let separator = pick(r, &[":", "-"]);
            let pairs: Vec<String> = (0..6)
                .map(|i| if i == 0 { "a4".into() } else { r.hex(2) })
                .collect();
            (plain(r), pairs.join(&separator))
        }
        Category::ApiKey => (
            pick(r, &["use ", "key ", "export K=", "", "token: ", "leaked "]),
            key(r),
        ),
        Category::Jwt => (
            pick(r, &["Authorization: Bearer ", "jwt ", "", "token="]),
            format!(
                "eyJhbGciOi{}.eyJzdWIi{}.{}",
                r.from(URL, 18),
                r.from(URL, 40),
                r.from(URL, 42) + "x"
            ),
        ),
        Category::PrivateKey => {
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
        Category::Password => {
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
        Category::Nino => {
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
        Category::Nhs => (
            pick(r, &["NHS number ", "NHS no: ", "nhs_number=", "nhs "]),
            nhs(r),
        ),
        Category::Aadhaar => {
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
        Category::Pan => (
            pick(r, &["PAN ", "PAN card ", "pan: ", "pan_number="]),
            format!(
                "{}{}{}{}{}",
                r.from(UPPER, 3),
                r.from("PCHF", 1),
                r.from(UPPER, 1),
                r.digits(4),
                r.from(UPPER, 1)
            ),
        ),
        Category::Pesel => {
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
        Category::Passport => {
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
        Category::BirthDate => {
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
    };
    let tail = tail(r);
    (before, value, tail)
}

fn negative(r: &mut Random, kind: usize) -> (&'static str, String) {
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

pub const NEGATIVE_KINDS: usize = 40;

/// The whole set: `each` positives a category and as many negatives a kind as make about the same
/// number in all.
pub fn examples(each: usize, each_negative: usize) -> Vec<Example> {
    let mut r = Random::new(0x5EED_0FA1_1DA7_A000);
    let mut all = Vec::new();
    for category in Category::ALL {
        for _ in 0..each {
            let (before, value, after) = positive(&mut r, category);
            let label = Some((category, before.len(), before.len() + value.len()));
            all.push(Example {
                text: format!("{before}{value}{after}"),
                label,
                kind: "",
            });
        }
    }
    for kind in 0..NEGATIVE_KINDS {
        for _ in 0..each_negative {
            let (kind, text) = negative(&mut r, kind);
            all.push(Example {
                text,
                label: None,
                kind,
            });
        }
    }
    all
}
