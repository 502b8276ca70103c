//! Preloaded into the servers of some tests: the disk as it is on its bad days.
//!
//! Compiled by `build.rs` and by nothing else, so that no test program has these symbols. Everything
//! is switched by files in the directory that `FAULTS` names:
//!
//! | file | what happens |
//! |---|---|
//! | `sync-fails` | syncs of the audit's spool fail with EIO |
//! | `sync-waits` | they wait until the file is gone |
//! | `write-fails` | writes to the spool fail with EIO; of what was copied into a mapped file, the sync that writes it |
//! | `disk-full` | files of the spool and of relations do not grow: ENOSPC |
//! | `table-full` | files of relations do not grow: ENOSPC |
//! | `sync-failed` | is there when one has failed |
//! | `on` | one of the above may be there; without it nothing is looked for |
//!
//! What is durable of the spool is copied, after each successful sync, to `durable/` there: the
//! contents of a file when it is synced, the names in a directory when that is. After a power cut
//! there is nothing else.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

const EIO: c_int = 5;
const ENOSPC: c_int = 28;
const SPOOL: &str = "pgsql_tmp_spool";

#[repr(C)]
pub struct IoVec {
    base: *mut c_void,
    len: usize,
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn __errno_location() -> *mut c_int;
}

fn next(name: &CStr) -> *mut c_void {
    const RTLD_NEXT: *mut c_void = usize::MAX as *mut c_void;
    // SAFETY: a look-up by a C string.
    unsafe { dlsym(RTLD_NEXT, name.as_ptr()) }
}

/// The function of the C library behind ours.
macro_rules! real {
    ($name:literal, $type:ty) => {{
        static REAL: OnceLock<usize> = OnceLock::new();
        let at = *REAL.get_or_init(|| next($name) as usize);
        // SAFETY: the C library's function of that name and type.
        unsafe { std::mem::transmute::<usize, $type>(at) }
    }};
}

fn fail(errno: c_int) {
    // SAFETY: this thread's errno.
    unsafe { *__errno_location() = errno };
}

fn control() -> Option<&'static Path> {
    static DIR: OnceLock<Option<PathBuf>> = OnceLock::new();
    DIR.get_or_init(|| std::env::var_os("FAULTS").map(PathBuf::from))
        .as_deref()
}

fn on(what: &str) -> bool {
    control().is_some_and(|dir| dir.join("on").exists() && dir.join(what).exists())
}

fn path_of(fd: c_int) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

fn is_spool(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().contains(SPOOL)
}

fn is_relation(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().contains("/base/")
}

fn size(fd: c_int) -> u64 {
    fs::metadata(format!("/proc/self/fd/{fd}")).map_or(0, |m| m.len())
}

/// May so much be written to the file, up to `end`?
fn may_write(fd: c_int, end: u64) -> bool {
    let (fails, full, table) = (on("write-fails"), on("disk-full"), on("table-full"));
    if !fails && !full && !table {
        return true;
    }
    let Some(path) = path_of(fd) else { return true };
    if fails && is_spool(&path) {
        fail(EIO);
        return false;
    }
    let grows = full && is_spool(&path) || (full || table) && is_relation(&path);
    if grows && end > size(fd) {
        fail(ENOSPC);
        return false;
    }
    true
}

/// A file's name among those that are durable.
fn durable_name(path: &Path) -> String {
    path.as_os_str().to_string_lossy().replace('/', "%")
}

fn note_file(to: &Path, fd: c_int, path: &Path) -> std::io::Result<()> {
    let name = durable_name(path);
    // Two processes may sync it: what the later of them finds is what stays.
    let lock = File::create(to.join(format!("{name}.lock")))?;
    lock.lock()?;
    let new = to.join(format!("{name}.tmp"));
    fs::write(&new, fs::read(format!("/proc/self/fd/{fd}"))?)?;
    fs::rename(new, to.join(name))
}

fn note_directory(to: &Path, path: &Path) -> std::io::Result<()> {
    let lock = File::create(to.join("lock"))?;
    lock.lock()?;
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let new = to.join("names.tmp");
    fs::write(&new, names.join("\n"))?;
    fs::rename(new, to.join(format!("{}%names", durable_name(path))))
}

fn sync(fd: c_int, real: extern "C" fn(c_int) -> c_int) -> c_int {
    let Some(dir) = control() else { return real(fd) };
    let Some(path) = path_of(fd).filter(|p| is_spool(p)) else {
        return real(fd);
    };
    while on("sync-waits") {
        std::thread::sleep(Duration::from_millis(5));
    }
    if on("sync-fails") || !path.is_dir() && on("write-fails") {
        let _ = File::create(dir.join("sync-failed"));
        fail(EIO);
        return -1;
    }
    let result = real(fd);
    let to = dir.join("durable");
    if result == 0 && to.exists() {
        let noted = if path.is_dir() {
            note_directory(&to, &path)
        } else {
            note_file(&to, fd, &path)
        };
        if noted.is_err() {
            fail(EIO);
            return -1;
        }
    }
    result
}

#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, real!(c"fdatasync", extern "C" fn(c_int) -> c_int))
}

#[unsafe(no_mangle)]
pub extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, real!(c"fsync", extern "C" fn(c_int) -> c_int))
}

type Write = extern "C" fn(c_int, *const c_void, usize, i64) -> isize;

#[unsafe(no_mangle)]
pub extern "C" fn pwrite64(fd: c_int, from: *const c_void, count: usize, at: i64) -> isize {
    if !may_write(fd, at as u64 + count as u64) {
        return -1;
    }
    real!(c"pwrite64", Write)(fd, from, count, at)
}

#[unsafe(no_mangle)]
pub extern "C" fn pwrite(fd: c_int, from: *const c_void, count: usize, at: i64) -> isize {
    pwrite64(fd, from, count, at)
}

type WriteV = extern "C" fn(c_int, *const IoVec, c_int, i64) -> isize;

#[unsafe(no_mangle)]
pub extern "C" fn pwritev64(fd: c_int, parts: *const IoVec, count: c_int, at: i64) -> isize {
    // SAFETY: an array of that many.
    let parts_of = unsafe { std::slice::from_raw_parts(parts, count.max(0) as usize) };
    let length: usize = parts_of.iter().map(|part| part.len).sum();
    if !may_write(fd, at as u64 + length as u64) {
        return -1;
    }
    real!(c"pwritev64", WriteV)(fd, parts, count, at)
}

#[unsafe(no_mangle)]
pub extern "C" fn pwritev(fd: c_int, parts: *const IoVec, count: c_int, at: i64) -> isize {
    pwritev64(fd, parts, count, at)
}

type Allocate = extern "C" fn(c_int, i64, i64) -> c_int;

/// Its result is the error, errno stays.
#[unsafe(no_mangle)]
pub extern "C" fn posix_fallocate64(fd: c_int, at: i64, length: i64) -> c_int {
    if !may_write(fd, (at + length) as u64) {
        return ENOSPC;
    }
    real!(c"posix_fallocate64", Allocate)(fd, at, length)
}

#[unsafe(no_mangle)]
pub extern "C" fn posix_fallocate(fd: c_int, at: i64, length: i64) -> c_int {
    posix_fallocate64(fd, at, length)
}
