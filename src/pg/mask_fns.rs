//! The mask functions. None raises, whatever the input: an error's text would carry raw values.

use super::call::{arg, bytes, new_varlena, plain_bytes, return_null, set_length, sql_function};
use super::secret;
use pgrx::pg_sys::{self, Datum};
use policy::mask::hash::hex;
use policy::mask::value::{self, Partial, Unit};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

fn keep(n: i32) -> Option<usize> {
    usize::try_from(n).ok()
}

/// The database's encoding, which is the same for a backend's whole life; asked once, since the
/// question costs more than the answer.
fn encoding() -> i32 {
    static KNOWN: AtomicI32 = AtomicI32::new(-1);
    match KNOWN.load(Relaxed) {
        -1 => {
            // SAFETY: reads a variable that is set when a backend starts.
            let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
            KNOWN.store(encoding, Relaxed);
            encoding
        }
        encoding => encoding,
    }
}

/// How a text in the database's encoding is cut.
fn cut(text: &[u8], first: usize, last: usize) -> Partial {
    let encoding = encoding();
    if encoding == pg_sys::pg_enc::PG_UTF8 as i32 {
        return value::partial_utf8(text, first, last);
    }
    // SAFETY: looks up a table by an encoding that the server uses.
    if unsafe { pg_sys::pg_encoding_max_length(encoding) } == 1 {
        return value::partial_bytes(text.len(), first, last);
    }
    value::partial_multibyte(text, first, last, |rest| {
        // The length functions look at up to four bytes and stop at NUL.
        let mut start = [0u8; 8];
        let n = rest.len().min(4);
        start[..n].copy_from_slice(&rest[..n]);
        // SAFETY: `start` is longer than any encoding's look-ahead and ends with NULs.
        usize::try_from(unsafe { pg_sys::pg_encoding_mblen(encoding, start.as_ptr().cast()) })
            .unwrap_or(1)
    })
}

sql_function! {
    /// mask_partial(value text, keep_first int, keep_last int, pad text)
    fn mask_partial / pg_finfo_mask_partial(fcinfo)
    // Characters of one byte each, and one to put in their place: as in most databases with most values.
    at_once {
        match (plain_bytes(arg(fcinfo, 0)), plain_bytes(arg(fcinfo, 3))) {
            (Some(text), Some(&[pad])) if text.is_ascii() => {
                let keep = |n: usize| keep(arg(fcinfo, n).value() as i32);
                match (keep(1), keep(2)) {
                    (Some(first), Some(last)) => {
                        padded(text, value::partial_bytes(text.len(), first, last), pad)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
    {
        let text = bytes(arg(fcinfo, 0));
        let pad = bytes(arg(fcinfo, 3));
        let (Some(first), Some(last)) = (keep(arg(fcinfo, 1).value() as i32), keep(arg(fcinfo, 2).value() as i32)) else {
            return return_null(fcinfo);
        };
        let p = cut(text, first, last);
        if let [pad] = pad {
            return padded(text, p, *pad).unwrap_or_else(|| return_null(fcinfo));
        }
        let len = p.hidden.saturating_mul(pad.len()).saturating_add(p.head + p.tail);
        let Some((result, mut out)) = new_varlena(len) else {
            return return_null(fcinfo);
        };
        std::ptr::copy_nonoverlapping(text.as_ptr(), out, p.head);
        out = out.add(p.head);
        for _ in 0..p.hidden {
            std::ptr::copy_nonoverlapping(pad.as_ptr(), out, pad.len());
            out = out.add(pad.len());
        }
        std::ptr::copy_nonoverlapping(text.as_ptr().add(text.len() - p.tail), out, p.tail);
        result
    }
}

/// Copies a few bytes, which calling the library's function would take longer for.
///
/// # Safety
/// As for [`std::ptr::copy_nonoverlapping`].
#[inline(always)]
unsafe fn copy_few(from: *const u8, to: *mut u8, n: usize) {
    const FEW: usize = 8;
    // SAFETY: by the caller's promise; all of it is within the `n` bytes.
    unsafe {
        if n > 2 * FEW {
            std::ptr::copy_nonoverlapping(from, to, n);
        } else if n >= FEW {
            let first = from.cast::<u64>().read_unaligned();
            let last = from.add(n - FEW).cast::<u64>().read_unaligned();
            to.cast::<u64>().write_unaligned(first);
            to.add(n - FEW).cast::<u64>().write_unaligned(last);
        } else if n >= FEW / 2 {
            let first = from.cast::<u32>().read_unaligned();
            let last = from.add(n - FEW / 2).cast::<u32>().read_unaligned();
            to.cast::<u32>().write_unaligned(first);
            to.add(n - FEW / 2).cast::<u32>().write_unaligned(last);
        } else if n > 0 {
            // Of one to three bytes these are all.
            for i in [0, n / 2, n - 1] {
                to.add(i).write(from.add(i).read());
            }
        }
    }
}

/// The text with one byte for each character that is hidden.
///
/// # Safety
/// In a function that returns the result; `p` is a part of `text`.
#[inline(always)]
unsafe fn padded(text: &[u8], p: Partial, pad: u8) -> Option<Datum> {
    const WORD: usize = size_of::<u64>();
    const FEW: usize = 8 * WORD;
    let length = p.head.wrapping_add(p.hidden).wrapping_add(p.tail);
    // SAFETY: the new value has as much room as is written; head and tail are within the text.
    unsafe {
        if length <= FEW {
            // Whole words of what hides, then what is kept: the last word may go over the end.
            let (result, out) = new_varlena(length.next_multiple_of(WORD))?;
            let word = u64::from_ne_bytes([pad; WORD]);
            for i in 0..length.div_ceil(WORD) {
                out.cast::<u64>().add(i).write_unaligned(word);
            }
            copy_few(text.as_ptr(), out, p.head);
            let end = text.as_ptr().add(text.len()).sub(p.tail);
            copy_few(end, out.add(p.head).add(p.hidden), p.tail);
            set_length(result, length);
            return Some(result);
        }
        let (result, out) = new_varlena(length)?;
        std::ptr::copy_nonoverlapping(text.as_ptr(), out, p.head);
        std::ptr::write_bytes(out.add(p.head), pad, p.hidden);
        let end = text.as_ptr().add(text.len()).sub(p.tail);
        std::ptr::copy_nonoverlapping(end, out.add(p.head).add(p.hidden), p.tail);
        Some(result)
    }
}

sql_function! {
    /// mask_email(value text)
    fn mask_email / pg_finfo_mask_email(fcinfo) {
        const DOMAIN: &[u8] = b"***@example.com";
        let text = bytes(arg(fcinfo, 0));
        // An odd character of another encoding may be cut in the middle: show none of it then.
        let first = match value::email_first_char(text) {
            Some(1) if text[0] < 0x80 => 1,
            Some(n) if encoding() == pg_sys::pg_enc::PG_UTF8 as i32 => n,
            Some(_) => 0,
            None => {
                let Some((result, out)) = new_varlena(3) else {
                    return return_null(fcinfo);
                };
                std::ptr::copy_nonoverlapping(DOMAIN.as_ptr(), out, 3);
                return result;
            }
        };
        let Some((result, out)) = new_varlena(first + DOMAIN.len()) else {
            return return_null(fcinfo);
        };
        std::ptr::copy_nonoverlapping(text.as_ptr(), out, first);
        std::ptr::copy_nonoverlapping(DOMAIN.as_ptr(), out.add(first), DOMAIN.len());
        result
    }
}

sql_function! {
    /// mask_hash(value text, length int)
    fn mask_hash / pg_finfo_mask_hash(fcinfo) {
        let length = arg(fcinfo, 1).value() as i32;
        if !(1..=64).contains(&length) {
            return return_null(fcinfo);
        }
        let Some(digest) = secret::digest(fcinfo, bytes(arg(fcinfo, 0))) else {
            return return_null(fcinfo);
        };
        let digits = hex(&digest, length as usize);
        let Some((result, out)) = new_varlena(length as usize) else {
            return return_null(fcinfo);
        };
        std::ptr::copy_nonoverlapping(digits.as_ptr(), out, length as usize);
        result
    }
}

sql_function! {
    /// mask_hash(value bigint)
    fn mask_hash_int8 / pg_finfo_mask_hash_int8(fcinfo) {
        let text = (arg(fcinfo, 0).value() as i64).to_string();
        match secret::digest(fcinfo, text.as_bytes()) {
            Some([a, b, c, d, e, f, g, h, ..]) => {
                Datum::from(i64::from_be_bytes([a & 0x7F, b, c, d, e, f, g, h]))
            }
            None => return_null(fcinfo),
        }
    }
}

sql_function! {
    /// mask_hash(value uuid)
    fn mask_hash_uuid / pg_finfo_mask_hash_uuid(fcinfo) {
        let raw = &*arg(fcinfo, 0).cast_mut_ptr::<[u8; 16]>();
        let Some(digest) = secret::digest(fcinfo, raw) else {
            return return_null(fcinfo);
        };
        let uuid = pg_sys::palloc(16).cast::<[u8; 16]>();
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[6] = 0x80 | bytes[6] & 0x0F; // version 8: of one's own making
        bytes[8] = 0x80 | bytes[8] & 0x3F;
        *uuid = bytes;
        Datum::from(uuid)
    }
}

sql_function! {
    /// mask_truncate(value date, unit text)
    fn mask_truncate_date / pg_finfo_mask_truncate_date(fcinfo) {
        let day = arg(fcinfo, 0).value() as i32;
        match Unit::from_name(bytes(arg(fcinfo, 1))) {
            // infinity and -infinity
            _ if day == i32::MAX || day == i32::MIN => Datum::from(day),
            Some(unit) => Datum::from(value::truncate_day(i64::from(day), unit) as i32),
            None => return_null(fcinfo),
        }
    }
}

sql_function! {
    /// mask_truncate(value timestamp or timestamptz, unit text)
    fn mask_truncate_timestamp / pg_finfo_mask_truncate_timestamp(fcinfo) {
        let moment = arg(fcinfo, 0).value() as i64;
        match Unit::from_name(bytes(arg(fcinfo, 1))) {
            _ if moment == i64::MAX || moment == i64::MIN => Datum::from(moment),
            Some(unit) => Datum::from(value::truncate_moment(moment, unit)),
            None => return_null(fcinfo),
        }
    }
}

sql_function! {
    /// mask_bucket(value smallint, size int)
    fn mask_bucket_int2 / pg_finfo_mask_bucket_int2(fcinfo) {
        let (value, size) = (arg(fcinfo, 0).value() as i16, arg(fcinfo, 1).value() as i32);
        match value::bucket(value.into(), size.into(), i16::MIN.into()) {
            Some(floor) => Datum::from(floor as i16),
            None => return_null(fcinfo),
        }
    }
}

sql_function! {
    /// mask_bucket(value int, size int)
    fn mask_bucket_int4 / pg_finfo_mask_bucket_int4(fcinfo) {
        let (value, size) = (arg(fcinfo, 0).value() as i32, arg(fcinfo, 1).value() as i32);
        match value::bucket(value.into(), size.into(), i32::MIN.into()) {
            Some(floor) => Datum::from(floor as i32),
            None => return_null(fcinfo),
        }
    }
}

sql_function! {
    /// mask_bucket(value bigint, size bigint)
    fn mask_bucket_int8 / pg_finfo_mask_bucket_int8(fcinfo) {
        let (value, size) = (arg(fcinfo, 0).value() as i64, arg(fcinfo, 1).value() as i64);
        match value::bucket(value, size, i64::MIN) {
            Some(floor) => Datum::from(floor),
            None => return_null(fcinfo),
        }
    }
}

sql_function! {
    /// mask_bucket(value real, size float8)
    fn mask_bucket_float4 / pg_finfo_mask_bucket_float4(fcinfo) {
        let value = f32::from_bits(arg(fcinfo, 0).value() as u32);
        let size = f64::from_bits(arg(fcinfo, 1).value() as u64);
        match value::bucket_float(value.into(), size) {
            Some(floor) => Datum::from((floor as f32).to_bits()),
            None => return_null(fcinfo),
        }
    }
}

sql_function! {
    /// mask_bucket(value float8, size float8)
    fn mask_bucket_float8 / pg_finfo_mask_bucket_float8(fcinfo) {
        let value = f64::from_bits(arg(fcinfo, 0).value() as u64);
        let size = f64::from_bits(arg(fcinfo, 1).value() as u64);
        match value::bucket_float(value, size) {
            Some(floor) => Datum::from(floor.to_bits()),
            None => return_null(fcinfo),
        }
    }
}

sql_function! {
    /// mask_network(value inet or cidr, ipv4 int, ipv6 int)
    ///
    /// inet_struct is family (PGSQL_AF_INET is AF_INET, 2; PGSQL_AF_INET6 one more), number of
    /// bits, then 4 or 16 bytes of address.
    fn mask_network / pg_finfo_mask_network(fcinfo) {
        let raw = bytes(arg(fcinfo, 0));
        let asked = match raw {
            [2, _, address @ ..] if address.len() >= 4 => arg(fcinfo, 1).value() as i32,
            [3, _, address @ ..] if address.len() >= 16 => arg(fcinfo, 2).value() as i32,
            _ => return return_null(fcinfo),
        };
        let size = if raw[0] == 2 { 4 } else { 16 };
        let Some(asked) = u8::try_from(asked).ok().filter(|n| usize::from(*n) <= size * 8) else {
            return return_null(fcinfo);
        };
        let bits = asked.min(raw[1]);
        let Some((result, out)) = new_varlena(size + 2) else {
            return return_null(fcinfo);
        };
        *out = raw[0];
        *out.add(1) = bits;
        std::ptr::copy_nonoverlapping(raw.as_ptr().add(2), out.add(2), size);
        value::clear_host_bits(std::slice::from_raw_parts_mut(out.add(2), size), bits.into());
        result
    }
}

/// `result` as a value of type text.
///
/// # Safety
/// The result becomes a return value in the current memory context.
unsafe fn text_result(fcinfo: pg_sys::FunctionCallInfo, result: &[u8]) -> Datum {
    // SAFETY: the new value has room for `result`.
    unsafe {
        let Some((datum, out)) = new_varlena(result.len()) else {
            return return_null(fcinfo);
        };
        std::ptr::copy_nonoverlapping(result.as_ptr(), out, result.len());
        datum
    }
}

sql_function! {
    /// mask_scrub(value text)
    fn mask_scrub / pg_finfo_mask_scrub(fcinfo) {
        let clean = policy::sensitive::scrub(bytes(arg(fcinfo, 0)));
        text_result(fcinfo, &clean)
    }
}

sql_function! {
    /// mask_scrub_json(value text)
    fn mask_scrub_json / pg_finfo_mask_scrub_json(fcinfo) {
        let raw = bytes(arg(fcinfo, 0));
        // A document that is not UTF-8 (in a database of another encoding) is not taken apart.
        match std::str::from_utf8(raw) {
            Ok(text) => match policy::sensitive::scrub_json(text) {
                Some(clean) => text_result(fcinfo, clean.as_bytes()),
                None => return_null(fcinfo),
            },
            Err(_) => return_null(fcinfo),
        }
    }
}
