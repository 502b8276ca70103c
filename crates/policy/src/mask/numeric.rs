//! A `numeric` as it is stored, as far as whole numbers go: `struct NumericData` in PostgreSQL's
//! `src/backend/utils/adt/numeric.c`, the same on disk since 9.1.

/// What is read of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// the greatest whole number at or below it
    pub floor: i64,
    /// nothing behind the decimal point, shown or not
    pub exact: bool,
}

const KIND: u16 = 0xC000;
const SPECIAL: u16 = 0xC000;
const SHORT: u16 = 0x8000;
const NEGATIVE: u16 = 0x4000;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_SCALE: u16 = 0x1F80;
const SHORT_SCALE_SHIFT: u16 = 7;
const SHORT_WEIGHT: u16 = 0x003F;
const SHORT_WEIGHT_NEGATIVE: u16 = 0x0040;
const SCALE: u16 = 0x3FFF;
const MINUS_INFINITY: u16 = 0xF000;
/// Base-10000 digits before the point that an `i64` surely holds.
const DIGITS: usize = 4;

/// None for what is not finite or has more than 16 digits before the point. `stored` is without
/// the length word.
///
/// ```
/// // 12.5: positive, one digit shown behind the point, digits 0012 and 5000.
/// let stored: Vec<u8> = [0x8080_u16, 12, 5000].iter().flat_map(|w| w.to_ne_bytes()).collect();
/// let whole = policy::mask::numeric::whole(&stored).unwrap();
/// assert_eq!((whole.floor, whole.exact), (12, false));
/// ```
#[must_use]
#[inline]
pub fn whole(stored: &[u8]) -> Option<Whole> {
    let (header, rest) = word(stored)?;
    let (negative, scale, weight, digits) = match header & KIND {
        SPECIAL => return None,
        SHORT => {
            let weight = i32::from(header & SHORT_WEIGHT);
            let weight = match header & SHORT_WEIGHT_NEGATIVE {
                0 => weight,
                _ => weight - i32::from(SHORT_WEIGHT_NEGATIVE),
            };
            (
                header & SHORT_NEGATIVE != 0,
                header & SHORT_SCALE,
                weight,
                rest,
            )
        }
        sign => {
            let (weight, digits) = word(rest)?;
            (
                sign == NEGATIVE,
                header & SCALE,
                i32::from(weight.cast_signed()),
                digits,
            )
        }
    };
    let before = usize::try_from(weight + 1).unwrap_or(0);
    if before > DIGITS {
        return None;
    }
    let (digits, _) = digits.as_chunks::<2>();
    let mut digits = digits.iter().map(|d| i64::from(u16::from_ne_bytes(*d)));
    // Zeros at the end are not stored.
    let number = (0..before).fold(0, |n, _| n * 10_000 + digits.next().unwrap_or(0));
    let fraction = digits.any(|d| d != 0);
    Some(Whole {
        floor: match negative {
            true => -number - i64::from(fraction),
            false => number,
        },
        exact: scale == 0 && !fraction,
    })
}

/// Below every other, so that nothing need be compared with it?
#[must_use]
pub fn is_minus_infinity(stored: &[u8]) -> bool {
    word(stored).is_some_and(|(header, _)| header == MINUS_INFINITY)
}

/// Precision and scale of a column's type, from its `atttypmod`; None for plain `numeric`. As
/// `numeric_typmod_precision` and `numeric_typmod_scale` in the same file: 11 bits of scale, signed.
///
/// ```
/// assert_eq!(policy::mask::numeric::of_type((12 << 16 | 2) + 4), Some((12, 2)));
/// assert_eq!(policy::mask::numeric::of_type((4 << 16 | (-2 & 0x7FF)) + 4), Some((4, -2)));
/// assert_eq!(policy::mask::numeric::of_type(-1), None);
/// ```
#[must_use]
pub fn of_type(typmod: i32) -> Option<(i32, i32)> {
    let packed = typmod.checked_sub(4).filter(|packed| *packed >= 0)?;
    Some((packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024))
}

/// How many digits are shown behind the decimal point; None for what is not finite.
#[must_use]
pub fn scale(stored: &[u8]) -> Option<u16> {
    let (header, _) = word(stored)?;
    match header & KIND {
        SPECIAL => None,
        SHORT => Some((header & SHORT_SCALE) >> SHORT_SCALE_SHIFT),
        _ => Some(header & SCALE),
    }
}

/// A whole number as it is stored, without the length word.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    bytes: [u8; 12],
    len: usize,
}

impl Stored {
    /// With so many zeros shown behind the point; None for more than 63, which the short form has no
    /// room for.
    ///
    /// ```
    /// let stored = policy::mask::numeric::Stored::new(-1_200, 2).unwrap();
    /// let words = [0xA100_u16, 1200].map(u16::to_ne_bytes).concat();
    /// assert_eq!(stored.bytes(), words);
    /// ```
    #[must_use]
    #[inline]
    pub fn new(number: i64, scale: u16) -> Option<Self> {
        if scale > SHORT_SCALE >> SHORT_SCALE_SHIFT {
            return None;
        }
        // From the last digit on; zeros behind it are not stored.
        let (mut rest, mut digits, mut count, mut zeros) =
            (number.unsigned_abs(), [0_u16; 5], 0, 0);
        for digit in &mut digits {
            if rest == 0 {
                break;
            }
            *digit = (rest % 10_000) as u16;
            rest /= 10_000;
            zeros += usize::from(count == zeros && *digit == 0);
            count += 1;
        }
        let weight = count.saturating_sub(1) as u16;
        let sign = if number < 0 { SHORT_NEGATIVE } else { 0 };
        let header = SHORT | sign | scale << SHORT_SCALE_SHIFT | weight;
        let shown = digits.iter().take(count).skip(zeros).rev();
        let mut stored = Self {
            bytes: [0; 12],
            len: 0,
        };
        let words = std::iter::once(&header).chain(shown);
        for (to, word) in stored.bytes.as_chunks_mut::<2>().0.iter_mut().zip(words) {
            *to = word.to_ne_bytes();
            stored.len += 2;
        }
        Some(stored)
    }

    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.split_at(self.len).0
    }
}

/// Buckets as far as whole numbers go; the general arithmetic of numerics, which is slow, does the rest.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    size: i64,
    /// Buckets below it are left to the general arithmetic.
    above: i64,
    /// Digits shown behind the point.
    scale: u16,
}

impl Buckets {
    /// Of this size, none lower than `lowest`; None where they are not whole. Both are numerics as they are stored.
    ///
    /// ```
    /// use policy::mask::numeric::{Buckets, Stored};
    /// let (size, lowest) = (Stored::new(10, 0).unwrap(), Stored::new(-9_999, 2).unwrap());
    /// let buckets = Buckets::new(size.bytes(), lowest.bytes()).unwrap();
    /// let value = Stored::new(17, 2).unwrap();
    /// assert_eq!(buckets.of(value.bytes()).unwrap().bytes(), Stored::new(10, 2).unwrap().bytes());
    /// ```
    #[must_use]
    pub fn new(size: &[u8], lowest: &[u8]) -> Option<Self> {
        let size = whole(size).filter(|size| size.exact && size.floor > 0)?;
        let above = if is_minus_infinity(lowest) {
            i64::MIN
        } else {
            whole(lowest)?.floor
        };
        Some(Self {
            size: size.floor,
            above,
            scale: scale(lowest).unwrap_or(0),
        })
    }

    /// The greatest multiple of the size at or below a value; None where the general arithmetic is to say. It does not
    /// panic.
    #[must_use]
    #[inline]
    pub fn of(&self, value: &[u8]) -> Option<Stored> {
        self.bucket(self.number(value)?)
    }

    /// How many times the size goes into a value, rounded down; None where the general arithmetic is to say. It does
    /// not panic.
    ///
    /// ```
    /// use policy::mask::numeric::{Buckets, Stored};
    /// let (size, lowest) = (Stored::new(10, 0).unwrap(), Stored::new(-9_999, 2).unwrap());
    /// let buckets = Buckets::new(size.bytes(), lowest.bytes()).unwrap();
    /// assert_eq!(buckets.number(Stored::new(-17, 2).unwrap().bytes()), Some(-2));
    /// assert_eq!(buckets.bucket(-2).unwrap().bytes(), Stored::new(-20, 2).unwrap().bytes());
    /// ```
    #[must_use]
    #[inline]
    pub fn number(&self, value: &[u8]) -> Option<i64> {
        whole(value)?.floor.checked_div_euclid(self.size)
    }

    /// So many times the size; None where the general arithmetic is to say. It does not panic.
    #[must_use]
    #[inline]
    pub fn bucket(&self, number: i64) -> Option<Stored> {
        let bucket = number.checked_mul(self.size)?;
        if bucket <= self.above {
            return None;
        }
        Stored::new(bucket, self.scale)
    }
}

fn word(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_ne_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_ne_bytes()).collect()
    }

    fn of(words: &[u16]) -> Option<(i64, bool)> {
        whole(&stored(words)).map(|w| (w.floor, w.exact))
    }

    #[test]
    fn as_postgresql_stores_them() {
        // 0; 0.00; 7; 7.00; 10000 (one digit, weight 1); -7; -7.5; 0.0003 (weight -1)
        assert_eq!(of(&[0x8000]), Some((0, true)));
        assert_eq!(of(&[0x8100]), Some((0, false)));
        assert_eq!(of(&[0x8000, 7]), Some((7, true)));
        assert_eq!(of(&[0x8100, 7]), Some((7, false)));
        assert_eq!(of(&[0x8001, 1]), Some((10_000, true)));
        assert_eq!(of(&[0xA000, 7]), Some((-7, true)));
        assert_eq!(of(&[0xA080, 7, 5000]), Some((-8, false)));
        assert_eq!(of(&[0x827F, 3]), Some((0, false)));
        assert_eq!(of(&[0xA27F, 3]), Some((-1, false)));
        // The long form: 12.5 with 100 digits behind the point, and -12.
        assert_eq!(of(&[100, 0, 12, 5000]), Some((12, false)));
        assert_eq!(of(&[NEGATIVE, 0, 12]), Some((-12, true)));
        assert_eq!(
            of(&[0x8003, 9999, 9999, 9999, 9999]),
            Some((9_999_999_999_999_999, true))
        );
    }

    #[test]
    fn what_is_not_read() {
        for words in [
            &[0xC000][..],
            &[0xD000],
            &[MINUS_INFINITY],
            &[0x8004, 1],
            &[],
        ] {
            assert_eq!(of(words), None, "{words:?}");
        }
        assert_eq!(whole(&[0]), None);
        assert!(is_minus_infinity(&stored(&[MINUS_INFINITY])));
        assert!(!is_minus_infinity(&stored(&[0xC000])));
    }

    #[test]
    fn whole_numbers_are_stored_as_postgresql_does() {
        for (number, scale, expected) in [
            (0, 0, &[0x8000][..]),
            (0, 2, &[0x8100]),
            (7, 0, &[0x8000, 7]),
            (-7, 2, &[0xA100, 7]),
            (10_000, 0, &[0x8001, 1]),
            (120_050_000, 0, &[0x8002, 1, 2005]),
            (i64::MAX, 0, &[0x8004, 922, 3372, 368, 5477, 5807]),
            (i64::MIN, 63, &[0xBF84, 922, 3372, 368, 5477, 5808]),
        ] {
            let of_number = Stored::new(number, scale).map(|s| s.bytes().to_vec());
            assert_eq!(of_number, Some(stored(expected)), "{number}");
            assert_eq!(super::scale(&stored(expected)), Some(scale));
        }
        for number in (-100_000..100_000).step_by(7) {
            let of_number = Stored::new(number, 0).expect("short enough");
            assert_eq!(
                whole(of_number.bytes()).map(|w| (w.floor, w.exact)),
                Some((number, true))
            );
        }
        assert!(Stored::new(1, 64).is_none());
        assert_eq!(super::scale(&stored(&[100, 0, 12, 5000])), Some(100));
        assert_eq!(super::scale(&stored(&[0xC000])), None);
    }

    #[test]
    fn buckets() {
        let ten = stored(&[0x8000, 10]);
        for (value, expected) in [
            (&[0x8080, 12, 5000][..], Some(10)),
            (&[0xA000, 10], Some(-10)),
            (&[0xA080, 10, 1], Some(-20)),
            (&[0x8000], Some(0)),
            (&[0xC000], None),
        ] {
            let buckets = Buckets::new(&ten, &stored(&[MINUS_INFINITY])).expect("whole");
            let of_value = buckets.of(&stored(value)).map(|s| s.bytes().to_vec());
            let expected = expected.and_then(|n: i64| Stored::new(n, 0));
            assert_eq!(of_value, expected.map(|s| s.bytes().to_vec()), "{value:?}");
        }
        for size in [
            &[0x8000][..],
            &[0xA000, 10],
            &[0x8080, 10],
            &[0x8080, 1, 5000],
            &[0xC000],
        ] {
            assert!(
                Buckets::new(&stored(size), &stored(&[MINUS_INFINITY])).is_none(),
                "{size:?}"
            );
        }
    }
}
