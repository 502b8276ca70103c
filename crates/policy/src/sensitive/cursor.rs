//! A text and the questions that are asked of a place in it.

/// How far any check looks.
pub const FAR: usize = 64;

pub struct Text<'a> {
    bytes: &'a [u8],
}

impl<'a> Text<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The byte at a place; 0 outside the text.
    pub fn at(&self, place: usize) -> u8 {
        self.bytes.get(place).copied().unwrap_or(0)
    }

    /// The byte before a place; 0 at the beginning.
    pub fn before(&self, place: usize) -> u8 {
        place.checked_sub(1).map_or(0, |place| self.at(place))
    }

    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Does the text go on with this?
    pub fn goes_on(&self, place: usize, with: &[u8]) -> bool {
        self.bytes
            .get(place..)
            .is_some_and(|rest| rest.starts_with(with))
    }

    /// The end of the run of bytes from `place` on for which `is` holds, at most `most` further.
    pub fn run(&self, place: usize, most: usize, is: impl Fn(u8) -> bool) -> usize {
        let end = self.len().min(place.saturating_add(most));
        (place..end)
            .find(|i| !is(self.at(*i)))
            .unwrap_or(end.max(place))
    }

    /// The end of the letters and digits that begin at `place`; at least one further.
    pub fn end_of_word(&self, place: usize) -> usize {
        let rest = self.bytes.get(place..).unwrap_or_default();
        place
            + rest
                .iter()
                .position(|b| !is_word(*b))
                .unwrap_or(rest.len())
                .max(1)
    }

    /// Does a word begin here, and not in the middle of another?
    pub fn is_boundary(&self, place: usize) -> bool {
        !is_word(self.before(place)) && self.before(place) != b'_'
    }

    /// Does a word end here?
    pub fn ends_at(&self, place: usize) -> bool {
        !is_word(self.at(place)) && self.at(place) != b'_'
    }

    /// Is what begins here the local part of an email address? That is found at its `@`.
    pub fn starts_email(&self, place: usize) -> bool {
        let end = self.run(place, FAR, is_local);
        self.at(end) == b'@' && is_word(self.at(end + 1))
    }
}

/// Letters, digits, and whatever is not ASCII.
pub const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// What the local part of an email address is made of.
pub const fn is_local(byte: u8) -> bool {
    is_word(byte)
        || matches!(
            byte,
            b'.' | b'_' | b'%' | b'+' | b'-' | b'\'' | b'#' | b'&' | b'~'
        )
}
