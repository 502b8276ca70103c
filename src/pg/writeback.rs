//! Has the system write what a file has been given, without waiting for it.

use std::fs::File;

/// Begins with it; a sync later finds it under way, or done. Only a hint: what goes wrong, the sync
/// tells.
#[cfg(target_os = "linux")]
pub fn begin(file: &File, at: u64, len: u64) {
    use std::os::fd::AsRawFd;
    let (Ok(at), Ok(len)) = (i64::try_from(at), i64::try_from(len)) else {
        return;
    };
    // SAFETY: an open file; nothing of this process is read or written.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), at, len, libc::SYNC_FILE_RANGE_WRITE);
    }
}

/// Elsewhere the sync does all of it.
#[cfg(not(target_os = "linux"))]
pub fn begin(_file: &File, _at: u64, _len: u64) {}
