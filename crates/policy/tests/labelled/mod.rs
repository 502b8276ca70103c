//! A labelled set for the classifier: sentences that hold one piece of personal data or one secret,
//! and sentences that hold what merely looks like it. Made from templates by a seeded generator, so
//! it is the same everywhere.

mod contact;
mod document;
mod negative;
mod number;
mod secret;
pub mod written;

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

fn pick(r: &mut Random, of: &[&str]) -> String {
    r.one(of).to_owned()
}

/// What may stand before anything.
fn plain(r: &mut Random) -> String {
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
}

fn tail(r: &mut Random) -> String {
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
}

/// Context, value, and what follows.
fn positive(r: &mut Random, category: Category) -> (String, String, String) {
    let (before, value) = match category {
        Category::Email => contact::email(r),
        Category::Phone => contact::phone(r),
        Category::IpAddress => contact::ip_address(r),
        Category::MacAddress => contact::mac_address(r),
        Category::BirthDate => contact::birth_date(r),
        Category::Ssn => number::ssn(r),
        Category::Card => number::card(r),
        Category::Iban => number::iban(r),
        Category::RoutingNumber => number::routing_number(r),
        Category::ApiKey => secret::api_key(r),
        Category::Jwt => secret::jwt(r),
        Category::PrivateKey => secret::private_key(r),
        Category::Password => secret::password(r),
        Category::Nino => document::nino(r),
        Category::Nhs => document::nhs(r),
        Category::Aadhaar => document::aadhaar(r),
        Category::Pan => document::pan(r),
        Category::Pesel => document::pesel(r),
        Category::Passport => document::passport(r),
    };
    let tail = tail(r);
    (before, value, tail)
}

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
    for kind in 0..negative::KINDS {
        for _ in 0..each_negative {
            let (kind, text) = negative::negative(&mut r, kind);
            all.push(Example {
                text,
                label: None,
                kind,
            });
        }
    }
    all
}
