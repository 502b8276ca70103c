//! The bytes of a jsonb container, as utils/jsonb.h describes them: a header with the number of
//! entries, an entry for each key and value with its type and length, then the values themselves.
//! Numbers and containers begin at a multiple of four; the gap before one counts as part of it.

const COUNT: u32 = 0x0FFF_FFFF;
const SCALAR: u32 = 0x1000_0000;
const OBJECT: u32 = 0x2000_0000;
const ARRAY: u32 = 0x4000_0000;

const LENGTH: u32 = 0x0FFF_FFFF;
const TYPE: u32 = 0x7000_0000;
const HAS_OFFSET: u32 = 0x8000_0000;
/// Every 32nd entry holds where it ends instead of how long it is.
const STRIDE: usize = 32;

const STRING: u32 = 0x0000_0000;
const NUMERIC: u32 = 0x1000_0000;
const FALSE: u32 = 0x2000_0000;
const TRUE: u32 = 0x3000_0000;
const NULL: u32 = 0x4000_0000;
const CONTAINER: u32 = 0x5000_0000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    /// An array around the one value of a document that is neither.
    Scalar,
}

#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    Null,
    Bool(bool),
    String(&'a [u8]),
    /// A `numeric` with its header.
    Number(&'a [u8]),
    Container(&'a [u8]),
}

/// A container that is read.
pub struct Reader<'a> {
    pub kind: Kind,
    /// Pairs of an object, elements of an array.
    pub count: usize,
    bytes: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

impl<'a> Reader<'a> {
    /// `None` for what is no container.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let header = word(bytes, 0)?;
        let kind = match (header & OBJECT != 0, header & ARRAY != 0) {
            (true, false) => Kind::Object,
            (false, true) if header & SCALAR != 0 => Kind::Scalar,
            (false, true) => Kind::Array,
            _ => return None,
        };
        Some(Self {
            kind,
            count: (header & COUNT) as usize,
            bytes,
        })
    }

    fn entries(&self) -> usize {
        self.count * if self.kind == Kind::Object { 2 } else { 1 }
    }

    /// The keys (of an object, first), then the values.
    pub fn items(&self) -> Option<Vec<Item<'a>>> {
        let entries = self.entries();
        let base = entries.checked_mul(4)?.checked_add(4)?;
        let data = self.bytes.get(base..)?;
        let mut items = Vec::with_capacity(entries);
        let mut begin = 0usize;
        for i in 0..entries {
            let entry = word(self.bytes, 4 + 4 * i)?;
            let number = (entry & LENGTH) as usize;
            let end = if entry & HAS_OFFSET != 0 {
                number
            } else {
                begin.checked_add(number)?
            };
            let aligned = (begin + 3) & !3;
            items.push(match entry & TYPE {
                STRING => Item::String(data.get(begin..end)?),
                NUMERIC => Item::Number(data.get(aligned..end)?),
                FALSE => Item::Bool(false),
                TRUE => Item::Bool(true),
                NULL => Item::Null,
                CONTAINER => Item::Container(data.get(aligned..end)?),
                _ => return None,
            });
            begin = end;
        }
        Some(items)
    }
}

/// A container that is written at the end of `out`, which holds nothing but containers from its
/// first byte on.
pub struct Writer {
    header: usize,
    base: usize,
    next: usize,
}

impl Writer {
    pub fn begin(out: &mut Vec<u8>, kind: Kind, count: usize) -> Option<Self> {
        pad(out);
        let (flags, entries) = match kind {
            Kind::Object => (OBJECT, count.checked_mul(2)?),
            Kind::Array => (ARRAY, count),
            Kind::Scalar => (ARRAY | SCALAR, count),
        };
        let header = out.len();
        out.extend_from_slice(&(u32::try_from(count).ok()? | flags).to_ne_bytes());
        out.resize(out.len() + entries * 4, 0);
        Some(Self {
            header,
            base: out.len(),
            next: 0,
        })
    }

    /// Notes that the next entry reaches to the end of `out`.
    fn close(&mut self, out: &mut [u8], kind: u32, begin: usize) -> Option<()> {
        let end = out.len() - self.base;
        let number = if self.next.is_multiple_of(STRIDE) {
            HAS_OFFSET | u32::try_from(end).ok().filter(|n| *n <= LENGTH)?
        } else {
            u32::try_from(out.len() - begin)
                .ok()
                .filter(|n| *n <= LENGTH)?
        };
        if end > LENGTH as usize {
            return None;
        }
        let at = self.header + 4 + 4 * self.next;
        out.get_mut(at..at + 4)?
            .copy_from_slice(&(number | kind).to_ne_bytes());
        self.next += 1;
        Some(())
    }

    pub fn item(&mut self, out: &mut Vec<u8>, item: Item<'_>) -> Option<()> {
        let begin = out.len();
        let kind = match item {
            Item::Null => NULL,
            Item::Bool(true) => TRUE,
            Item::Bool(false) => FALSE,
            Item::String(text) => {
                out.extend_from_slice(text);
                STRING
            }
            Item::Number(number) => {
                pad(out);
                out.extend_from_slice(number);
                NUMERIC
            }
            // Everything in a container is counted from its own beginning: it moves as it is.
            Item::Container(container) => {
                pad(out);
                out.extend_from_slice(container);
                CONTAINER
            }
        };
        self.close(out, kind, begin)
    }

    /// An entry whose value `write` puts at the end of `out`.
    pub fn container(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    ) -> Option<()> {
        let begin = out.len();
        pad(out);
        write(out)?;
        self.close(out, CONTAINER, begin)
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// `{}` or `[]`.
pub fn empty(kind: Kind) -> [u8; 4] {
    match kind {
        Kind::Object => OBJECT,
        Kind::Array | Kind::Scalar => ARRAY,
    }
    .to_ne_bytes()
}
