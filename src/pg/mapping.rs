//! A file mapped into memory, for appending without a system call.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{Ordering::Release, fence};

/// A part of a file from its beginning. What is written here is in the page cache at once, where
/// `read` finds it and `fdatasync` takes it from, whatever becomes of this process.
pub struct Mapping {
    at: *mut u8,
    size: usize,
}

/// Does a page that has its block keep it when it is written to? Where it does not (btrfs, zfs,
/// xfs after a reflink copy), a full disk would be a SIGBUS.
#[cfg(target_os = "linux")]
fn keeps_blocks(file: &File) -> bool {
    // SAFETY: a zeroed structure that fstatfs fills in.
    unsafe {
        let mut about = std::mem::zeroed::<libc::statfs>();
        libc::fstatfs(file.as_raw_fd(), &raw mut about) == 0
            && matches!(about.f_type, libc::EXT4_SUPER_MAGIC | libc::TMPFS_MAGIC)
    }
}

#[cfg(not(target_os = "linux"))]
fn keeps_blocks(_file: &File) -> bool {
    false
}

impl Mapping {
    /// Maps the first `size` bytes of `file`, which is open for reading and writing. The file may
    /// still be shorter. `None` where it cannot be mapped, or not safely.
    pub fn new(file: &File, size: usize) -> Option<Self> {
        if !keeps_blocks(file) {
            return None;
        }
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        (at != libc::MAP_FAILED).then(|| Self {
            at: at.cast(),
            size,
        })
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes a run of frames. The first four bytes, without which no reader takes any of it,
    /// are written last.
    ///
    /// The file must have been written up to the end of it before: only then are there pages, and
    /// blocks for them.
    ///
    /// # Errors
    /// When it does not fit into the mapping.
    pub fn publish(&mut self, at: usize, frames: &[u8]) -> io::Result<()> {
        let fits = at
            .checked_add(frames.len())
            .is_some_and(|end| end <= self.size);
        let (true, Some((head, rest))) = (fits, frames.split_first_chunk::<4>()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // SAFETY: inside the mapping, as was just asked; the file reaches as far by the caller's
        // promise. No reference into the mapping exists anywhere.
        unsafe {
            let to = self.at.add(at);
            std::ptr::copy_nonoverlapping(rest.as_ptr(), to.add(4), rest.len());
            fence(Release);
            to.cast::<[u8; 4]>().write_volatile(*head);
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, which nobody points into.
        unsafe { libc::munmap(self.at.cast(), self.size) };
    }
}
