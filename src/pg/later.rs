//! Messages that wait, behind the first row of a statement whose record is not durable yet: the
//! statement goes on meanwhile, and only what is about to be sent waits. So long as they are here,
//! nothing of them is in the server's buffer, and they can be dropped.

use std::cell::{Cell, RefCell};

/// Bytes that are kept: about what the server's own buffer takes before it sends.
const MOST: usize = 8000;
/// One byte that says what a message is, and four of its length.
const HEAD: usize = 5;

thread_local! {
    static KEPT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// What was given up of the audit when the first was kept.
    static MENDED: Cell<u64> = const { Cell::new(0) };
    static ANY: Cell<bool> = const { Cell::new(false) };
    /// What waited was dropped.
    static DROPPED: Cell<bool> = const { Cell::new(false) };
}

/// Does anything wait, or has what waited been dropped and nobody told the client?
pub fn any() -> bool {
    ANY.get()
}

/// Was what waited dropped, or has the audit given up something since the first message was kept?
pub fn is_lost(mended: u64) -> bool {
    DROPPED.get() || MENDED.get() != mended
}

/// Keeps a message; false when it is too long to be kept along with the others. `mended`: what the
/// audit has given up by now.
pub fn keep(kind: u8, body: &[u8], mended: impl FnOnce() -> u64) -> bool {
    KEPT.with_borrow_mut(|kept| {
        if DROPPED.get() {
            return false;
        }
        let Ok(length) = u32::try_from(body.len()) else {
            return false;
        };
        if kept.len() + HEAD + body.len() > MOST {
            return false;
        }
        if kept.is_empty() {
            MENDED.set(mended());
        }
        kept.push(kind);
        kept.extend_from_slice(&length.to_ne_bytes());
        kept.extend_from_slice(body);
        ANY.set(true);
        true
    })
}

/// Nothing waits any more. What did is for `send`, in order.
///
/// # Errors
/// What `send` says; the rest is not sent then.
pub fn release<E>(mut send: impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
    // What is kept when the session ends in the midst of `keep` stays there.
    if !ANY.replace(false) {
        return Ok(());
    }
    // Sending may end the session: nothing is borrowed meanwhile.
    let mut kept = KEPT.take();
    for (kind, body) in messages(&kept) {
        send(kind, body)?;
    }
    kept.clear();
    KEPT.set(kept);
    Ok(())
}

/// What waited is not sent, and nothing behind it is, before an error has been. `of_data`: the length of
/// each message of data that was among it.
pub fn discard(mut of_data: impl FnMut(usize)) {
    DROPPED.set(true);
    KEPT.with_borrow_mut(|kept| {
        for (kind, body) in messages(kept) {
            if matches!(kind, b'D' | b'd' | b'V') {
                of_data(body.len());
            }
        }
        kept.clear();
    });
}

/// What is kept, one message after the other.
fn messages(kept: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = kept;
    std::iter::from_fn(move || {
        let (head, behind) = rest.split_first_chunk::<HEAD>()?;
        let [kind, length @ ..] = *head;
        let length = usize::try_from(u32::from_ne_bytes(length)).unwrap_or(0);
        let (body, behind) = behind.split_at_checked(length).unwrap_or((behind, &[]));
        rest = behind;
        Some((kind, body))
    })
}

/// The client learns of it by an error.
pub fn told() {
    KEPT.with_borrow_mut(Vec::clear);
    DROPPED.set(false);
    ANY.set(false);
}

/// The session ends in the midst of anything: nothing is looked at any more.
pub fn end() {
    ANY.set(false);
}
