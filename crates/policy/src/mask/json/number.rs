//! `numeric` as jsonb stores it: a varlena header of four bytes, a header of one or two words, then
//! digits to the base of 10 000 (utils/adt/numeric.c).

const SIGN: u16 = 0xC000;
const NEGATIVE: u16 = 0x4000;
const SHORT: u16 = 0x8000;
const SPECIAL: u16 = 0xC000;

/// Weight of the first digit, digits behind the point, sign and digits.
struct Parts {
    negative: bool,
    scale: usize,
    weight: i32,
    digits: Vec<u16>,
}

fn parts(number: &[u8]) -> Option<Parts> {
    let words: Vec<u16> = number
        .get(4..)?
        .as_chunks::<2>()
        .0
        .iter()
        .map(|two| u16::from_ne_bytes(*two))
        .collect();
    let (first, rest) = words.split_first()?;
    Some(match first & SIGN {
        SPECIAL => return None,
        SHORT => Parts {
            negative: first & 0x2000 != 0,
            scale: usize::from(first >> 7 & 0x3F),
            weight: {
                let weight = i32::from(first & 0x3F);
                if first & 0x40 != 0 {
                    weight - 0x40
                } else {
                    weight
                }
            },
            digits: rest.to_vec(),
        },
        sign => {
            let (weight, digits) = rest.split_first()?;
            Parts {
                negative: sign == NEGATIVE,
                scale: usize::from(first & 0x3FFF),
                weight: i32::from(weight.cast_signed()),
                digits: digits.to_vec(),
            }
        }
    })
}

/// The number as SQL writes it; `None` for one that is not finite or has very many digits.
pub fn text(number: &[u8]) -> Option<String> {
    const MOST: i32 = 1_000;
    let p = parts(number)?;
    if p.weight > MOST {
        return None;
    }
    let digit = |position: i32| -> u16 {
        usize::try_from(position)
            .ok()
            .and_then(|i| p.digits.get(i).copied())
            .unwrap_or(0)
    };
    let mut text = String::new();
    if p.negative {
        text.push('-');
    }
    if p.weight < 0 {
        text.push('0');
    }
    for position in 0..=p.weight {
        if position == 0 {
            text.push_str(&digit(0).to_string());
        } else {
            text.push_str(&format!("{:04}", digit(position)));
        }
    }
    if p.scale > 0 {
        let mut fraction = String::new();
        let mut position = p.weight + 1;
        while fraction.len() < p.scale {
            fraction.push_str(&format!(
                "{:04}",
                if position < 0 { 0 } else { digit(position) }
            ));
            position += 1;
        }
        // A weight below -1 means that digits begin further behind the point.
        if p.weight < -1 {
            let zeros = "0000".repeat(usize::try_from(-1 - p.weight).ok()?);
            let digits: String = p.digits.iter().map(|d| format!("{d:04}")).collect();
            fraction = zeros + &digits;
            while fraction.len() < p.scale {
                fraction.push('0');
            }
        }
        text.push('.');
        text.push_str(fraction.get(..p.scale)?);
    }
    Some(text)
}

/// A whole number.
pub fn of_integer(n: i64) -> Vec<u8> {
    let mut rest = n.unsigned_abs();
    let mut digits = Vec::new();
    while rest > 0 {
        digits.insert(0, (rest % 10_000) as u16);
        rest /= 10_000;
    }
    let weight = digits.len().saturating_sub(1) as u16;
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let sign = if n < 0 { 0x2000 } else { 0 };
    let size = 4 + 2 + digits.len() * 2;
    let mut out = Vec::with_capacity(size);
    // The length of a varlena with a header of four bytes, in its upper or lower thirty bits.
    let length = size as u32;
    let header = if cfg!(target_endian = "little") {
        length << 2
    } else {
        length
    };
    out.extend_from_slice(&header.to_ne_bytes());
    out.extend_from_slice(&(SHORT | sign | (weight & 0x3F)).to_ne_bytes());
    for digit in digits {
        out.extend_from_slice(&digit.to_ne_bytes());
    }
    out
}
