//! Email addresses and addresses of machines.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::cursor::{Text, is_local, is_word};
use super::{Category, Finding};

const LONGEST_LOCAL: usize = 64;
const LONGEST_DOMAIN: usize = 253;

/// Endings that look like a top-level domain and are a file's.
const FILES: [&[u8]; 14] = [
    b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"css", b"js", b"json", b"html", b"xml",
    b"txt", b"pdf", b"csv",
];

/// The address around the `@` at `at`; its local part begins no earlier than `from`.
pub fn email(text: &Text<'_>, at: usize, from: usize) -> Option<Finding> {
    let mut start = at;
    while start > from && at - start < LONGEST_LOCAL && is_local(text.before(start)) {
        start -= 1;
    }
    // Punctuation around an address is not of it.
    while start < at && !is_word(text.at(start)) && text.at(start) != b'_' {
        start += 1;
    }
    if start == at || text.before(at) == b'.' {
        return None;
    }
    let end = domain(text, at + 1)?;
    // user:password@host in a URL is found by its colon; git@host:path is a place.
    if text.slice(start, at) == b"git" && matches!(text.at(end), b':' | b'/') {
        return None;
    }
    Some(Finding {
        start,
        end,
        category: Category::Email,
    })
}

/// The end of a domain with at least two labels.
fn domain(text: &Text<'_>, start: usize) -> Option<usize> {
    let mut label = start;
    let mut end = None;
    loop {
        let stop = text.run(label, 64, |b| is_word(b) || b == b'-');
        if stop == label || stop - label > 63 || text.at(label) == b'-' || text.before(stop) == b'-'
        {
            break;
        }
        if label > start && is_top_level(text.slice(label, stop)) {
            end = Some(stop);
        } else if label > start {
            end = None;
        }
        if text.at(stop) != b'.' || stop - start > LONGEST_DOMAIN {
            break;
        }
        label = stop + 1;
    }
    end
}

fn is_top_level(label: &[u8]) -> bool {
    let letters = label.iter().all(|b| b.is_ascii_alphabetic() || *b >= 0x80);
    let international = label.len() > 4
        && label
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"xn--"));
    (2..=24).contains(&label.len())
        && (letters || international)
        && !FILES.iter().any(|file| label.eq_ignore_ascii_case(file))
}

const fn is_address(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'-')
}

/// An IPv4, IPv6 or MAC address that begins here.
pub fn ip_or_mac(text: &Text<'_>, start: usize) -> Option<Finding> {
    if !text.at(start).is_ascii_hexdigit() || !text.is_boundary(start) {
        return None;
    }
    // A piece of something longer: 1.2.3.4.5 or a path.
    if matches!(text.before(start), b'.' | b':' | b'-') && is_word(text.at(start.wrapping_sub(2))) {
        return None;
    }
    let mut end = text.run(start, 46, is_address);
    while end > start && matches!(text.before(end), b'.' | b'-')
        || (end > start + 1 && text.before(end) == b':' && text.before(end - 1) != b':')
    {
        end -= 1;
    }
    if !text.ends_at(end) {
        return None;
    }
    let piece = text.slice(start, end);
    let category = if is_mac(piece) {
        Category::MacAddress
    } else if is_ipv6(piece) || (is_ipv4(piece) && !is_version(text, start)) {
        Category::IpAddress
    } else {
        return ipv4_with_port(text, start);
    };
    Some(Finding {
        start,
        end,
        category,
    })
}

fn ipv4_with_port(text: &Text<'_>, start: usize) -> Option<Finding> {
    let end = text.run(start, 15, |b| b.is_ascii_digit() || b == b'.');
    (matches!(text.at(end), b':' | b'-')
        && is_ipv4(text.slice(start, end))
        && !is_version(text, start))
    .then_some(Finding {
        start,
        end,
        category: Category::IpAddress,
    })
}

/// `::1` and the like; only those that begin with colons.
pub fn from_colon(text: &Text<'_>, start: usize) -> Option<Finding> {
    if !text.goes_on(start, b"::") || is_word(text.before(start)) || text.before(start) == b':' {
        return None;
    }
    let end = text.run(start, 46, |b| {
        b.is_ascii_hexdigit() || matches!(b, b':' | b'.')
    });
    (text.ends_at(end) && is_ipv6(text.slice(start, end))).then_some(Finding {
        start,
        end,
        category: Category::IpAddress,
    })
}

/// Four numbers behind the word "version" are one.
fn is_version(text: &Text<'_>, start: usize) -> bool {
    let mut end = start;
    while end > 0
        && matches!(
            text.before(end),
            b' ' | b':' | b'=' | b'"' | b'\'' | b'>' | b'<' | b'^' | b'~'
        )
    {
        end -= 1;
    }
    let mut word = end;
    while word > 0 && end - word < 16 && is_word(text.before(word)) {
        word -= 1;
    }
    let word = text.slice(word, end).to_ascii_lowercase();
    matches!(
        word.as_slice(),
        b"version"
            | b"versions"
            | b"ver"
            | b"v"
            | b"release"
            | b"build"
            | b"firmware"
            | b"driver"
            | b"revision"
            | b"rev"
            | b"assembly"
            | b"upgrade"
            | b"section"
            | b"chapter"
            | b"clause"
            | b"oid"
            | b"fileversion"
            | b"productversion"
            | b"chrome"
            | b"edge"
    ) || text.before(start) == b'/' && word.is_empty() && is_word(text.at(start.wrapping_sub(2)))
}

fn is_ipv4(piece: &[u8]) -> bool {
    if !(7..=15).contains(&piece.len()) {
        return false;
    }
    let address = std::str::from_utf8(piece)
        .ok()
        .and_then(|piece| piece.parse::<Ipv4Addr>().ok());
    // Nobody's: any, this machine, masks.
    address.is_some_and(|a| {
        !a.is_unspecified() && !a.is_loopback() && !matches!(a.octets(), [255, 255, ..])
    })
}

fn is_ipv6(piece: &[u8]) -> bool {
    let colons = piece.iter().filter(|b| **b == b':').count();
    let short = piece.windows(2).any(|pair| pair == b"::");
    // Scopes of programs (ab::cd) have neither digits nor many colons; times of day no `::`.
    if !(short && colons >= 2 || colons == 7) || !piece.iter().any(u8::is_ascii_digit) {
        return false;
    }
    std::str::from_utf8(piece)
        .ok()
        .and_then(|piece| piece.parse::<Ipv6Addr>().ok())
        .is_some_and(|a| !a.is_unspecified() && !a.is_loopback())
}

fn is_mac(piece: &[u8]) -> bool {
    let pairs = |separator: u8| {
        piece.len() == 17
            && piece.iter().enumerate().all(|(i, b)| {
                if i % 3 == 2 {
                    *b == separator
                } else {
                    b.is_ascii_hexdigit()
                }
            })
    };
    let triples = piece.len() == 14
        && piece.iter().enumerate().all(|(i, b)| {
            if i % 5 == 4 {
                *b == b'.'
            } else {
                b.is_ascii_hexdigit()
            }
        })
        && piece.iter().any(u8::is_ascii_alphabetic);
    if !(pairs(b':') || pairs(b'-') || triples) {
        return false;
    }
    // All alike is nobody's: none, or everybody's.
    let mut digits = piece.iter().filter(|b| b.is_ascii_hexdigit());
    let first = digits.next().copied().unwrap_or(0);
    digits.any(|digit| !digit.eq_ignore_ascii_case(&first))
}
