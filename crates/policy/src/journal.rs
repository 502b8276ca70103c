//! The journal: a file of fixed size in which the records of many sessions become durable by one
//! sync. It says again what was appended to spool files, and is read after a crash of the system, to
//! put back what of these files had not reached the disk.
//!
//! Positions count the bytes ever appended. The file is a ring of regions: what is appended at
//! position `p` lies at `p` modulo the size of the file, and no entry goes over the end of a region, so
//! that each region can be read from its beginning. An entry: its length with this header (u32, little
//! endian), CRC-32C of what follows, its position (u64), then kind (u8), database (u32), segment (u32),
//! offset in the segment (u64), length of the session's name (u8), the name, bytes.

/// Bytes before what an entry says: length, checksum, position.
const HEADER: usize = 16;
/// Kind, database, segment, offset, length of the name.
const FIXED: usize = 18;
/// The least that an entry takes.
pub const MIN_ENTRY: usize = HEADER + FIXED;

const KIND_APPENDED: u8 = 1;
const KIND_REMOVED: u8 = 2;

/// What happened to a spool file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What<'a> {
    /// These bytes were appended at this offset.
    Appended(u64, &'a [u8]),
    /// It is about to be removed: all of it is in the table.
    Removed,
}

/// An entry: which spool file, and what happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    pub database: u32,
    pub session: &'a str,
    pub segment: u32,
    pub what: What<'a>,
}

impl Entry<'_> {
    /// Bytes it takes. A session's name has fewer than 256.
    #[must_use]
    pub fn size(&self) -> usize {
        let bytes = match self.what {
            What::Appended(_, bytes) => bytes.len(),
            What::Removed => 0,
        };
        MIN_ENTRY + self.session.len() + bytes
    }

    /// Writes it to `out`, which has its [`size`](Entry::size).
    pub fn put(&self, position: u64, out: &mut [u8]) {
        let (kind, at, bytes) = match self.what {
            What::Appended(at, bytes) => (KIND_APPENDED, at, bytes),
            What::Removed => (KIND_REMOVED, 0, [].as_slice()),
        };
        let length = out.len() as u32;
        let Some((checked, rest)) = out.split_at_mut_checked(8) else {
            return;
        };
        let name = [self.session.len() as u8];
        let parts: [&[u8]; 8] = [
            &position.to_le_bytes(),
            &[kind],
            &self.database.to_le_bytes(),
            &self.segment.to_le_bytes(),
            &at.to_le_bytes(),
            &name,
            self.session.as_bytes(),
            bytes,
        ];
        let mut to = &mut *rest;
        for part in parts {
            let Some((here, behind)) = to.split_at_mut_checked(part.len()) else {
                return;
            };
            here.copy_from_slice(part);
            to = behind;
        }
        let crc = crc32c::crc32c(rest);
        let (l, c) = checked.split_at_mut(4);
        l.copy_from_slice(&length.to_le_bytes());
        c.copy_from_slice(&crc.to_le_bytes());
    }
}

/// The entry at the beginning of `buf`, its position and its size; `None` when there is none.
fn first(buf: &[u8]) -> Option<(u64, Entry<'_>, usize)> {
    let (length, rest) = buf.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let size = u32::from_le_bytes(*length) as usize;
    let checked = rest.get(..size.checked_sub(8)?)?;
    if size < MIN_ENTRY || crc32c::crc32c(checked) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (position, rest) = checked.split_first_chunk::<8>()?;
    let ([kind], rest) = rest.split_first_chunk::<1>()?;
    let (database, rest) = rest.split_first_chunk::<4>()?;
    let (segment, rest) = rest.split_first_chunk::<4>()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let ([name], rest) = rest.split_first_chunk::<1>()?;
    let (session, bytes) = rest.split_at_checked(usize::from(*name))?;
    let what = match *kind {
        KIND_APPENDED => What::Appended(u64::from_le_bytes(*at), bytes),
        KIND_REMOVED => What::Removed,
        _ => return None,
    };
    let entry = Entry {
        database: u32::from_le_bytes(*database),
        session: std::str::from_utf8(session).ok()?,
        segment: u32::from_le_bytes(*segment),
        what,
    };
    Some((u64::from_le_bytes(*position), entry, size))
}

/// The entries of a journal whose regions have this size, in the order in which they were appended.
///
/// What is left of an earlier round is not among them, be it behind the newest entry of a region or in
/// the region that comes next: a sync that a crash cut short may have written any of its pages, the
/// first not before the others. Writers give up both regions before they begin the newer one.
#[must_use]
pub fn entries(file: &[u8], region: usize) -> Vec<Entry<'_>> {
    let round = file.len() as u64;
    let mut found = Vec::new();
    for (n, bytes) in file.chunks(region.max(1)).enumerate() {
        let begin = n as u64 * region as u64;
        let mut rest = bytes;
        let mut expected = None;
        while let Some((position, entry, size)) = first(rest) {
            if position % round != begin + (bytes.len() - rest.len()) as u64
                || expected.is_some_and(|expected| expected != position)
            {
                break;
            }
            found.push((position, entry));
            expected = Some(position + size as u64);
            rest = rest.get(size..).unwrap_or_default();
        }
    }
    found.sort_by_key(|(position, _)| *position);
    let region = region.max(1) as u64;
    let newest = found.last().map_or(0, |(position, _)| position / region);
    let regions = round.div_ceil(region);
    found
        .into_iter()
        .filter(|(position, _)| position / region + regions > newest + 1)
        .map(|(_, entry)| entry)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: usize = 4096;

    fn appended<'a>(session: &'a str, at: u64, bytes: &'a [u8]) -> Entry<'a> {
        Entry {
            database: 5,
            session,
            segment: 1,
            what: What::Appended(at, bytes),
        }
    }

    /// As the writers do it; the position behind it.
    fn append(file: &mut [u8], mut position: u64, entry: &Entry) -> u64 {
        let size = entry.size();
        let left = REGION - position as usize % REGION;
        if size > left {
            let at = position as usize % file.len();
            file[at..at + left.min(4)].fill(0);
            position += left as u64;
        }
        let at = position as usize % file.len();
        entry.put(position, &mut file[at..at + size]);
        position + size as u64
    }

    #[test]
    fn what_was_appended_is_read_in_order_also_after_rounds() {
        let mut file = vec![0; 4 * REGION];
        let texts: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; 300]).collect();
        let mut position = 0;
        for (n, text) in texts.iter().enumerate() {
            position = append(&mut file, position, &appended("ab-1", n as u64, text));
        }
        let found = entries(&file, REGION);
        let numbers: Vec<u64> = found
            .iter()
            .map(|e| match e.what {
                What::Appended(at, bytes) => {
                    assert_eq!(bytes, texts[at as usize]);
                    at
                }
                What::Removed => unreachable!("none was"),
            })
            .collect();
        assert!(numbers.is_sorted());
        // The newest region and the two before it, of four.
        assert_eq!(numbers.last(), Some(&199));
        let a_region = REGION / 338;
        assert!(numbers.len() > 2 * a_region && numbers.len() <= 3 * a_region);
        assert_eq!(numbers[0] + numbers.len() as u64, 200, "without a hole");
    }

    #[test]
    fn a_torn_end_is_cut() {
        let mut file = vec![0; 2 * REGION];
        let removed = Entry {
            what: What::Removed,
            ..appended("ab-1", 0, b"")
        };
        let second = append(&mut file, 0, &removed);
        append(&mut file, second, &appended("cd-2", 7, b"bytes"));
        assert_eq!(
            entries(&file, REGION),
            [removed, appended("cd-2", 7, b"bytes")]
        );
        for at in second as usize..second as usize + 40 {
            let mut torn = file.clone();
            torn[at] ^= 1;
            assert_eq!(entries(&torn, REGION), [removed], "byte {at}");
        }
    }

    #[test]
    fn anything_is_read_without_a_panic() {
        for n in 0..2000_u32 {
            let file: Vec<u8> = (0..200_u32)
                .map(|i| (i.wrapping_mul(n).wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect();
            let _ = entries(&file, 64);
        }
        assert!(entries(&[], REGION).is_empty());
    }
}
