//! Calls into the server from which an ERROR comes back as a value, so that what a hook holds is
//! dropped on the way out and the error itself, every field of it, then goes on as it was.
//!
//! pgrx's own guard turns an ERROR into a panic and raises a new error from it; that loses the
//! constraint's name, the position and more. It serves where the error is ours to replace.

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use cee_scape::call_with_sigsetjmp;
use pgrx::pg_sys;

/// An ERROR is under way: whoever gets this returns at once, up to the hook's outermost function,
/// which lets it go on.
#[derive(Debug)]
#[must_use = "an error that is not thrown on is lost"]
pub struct Thrown(());

/// Calls into the server.
///
/// # Errors
/// When the server raised an ERROR.
///
/// # Safety
/// On the main thread; no frame of `call` owns anything that must be dropped.
pub unsafe fn call<T>(call: impl FnOnce() -> T) -> Result<T, Thrown> {
    // SAFETY: the server's handler stack is put back as it was before anything else happens. The
    // ERROR lands here with its data on the server's own error stack.
    unsafe {
        let stack = pg_sys::PG_exception_stack;
        let contexts = pg_sys::error_context_stack;
        let memory = pg_sys::CurrentMemoryContext;
        let mut result = MaybeUninit::<std::thread::Result<T>>::uninit();
        let jumped = call_with_sigsetjmp(false, |buffer| {
            pg_sys::PG_exception_stack = std::ptr::from_ref(buffer).cast_mut().cast();
            // A panic must not reach the C frame that called this closure.
            result.write(catch_unwind(AssertUnwindSafe(call)));
            0
        });
        pg_sys::PG_exception_stack = stack;
        pg_sys::error_context_stack = contexts;
        if jumped == 0 {
            match result.assume_init() {
                Ok(value) => Ok(value),
                Err(panic) => resume_unwind(panic),
            }
        } else {
            pg_sys::CurrentMemoryContext = memory;
            Err(Thrown(()))
        }
    }
}

unsafe extern "C-unwind" {
    fn geterrcode() -> core::ffi::c_int;
    fn pg_re_throw() -> !;
    fn FlushErrorState();
}

impl Thrown {
    /// Is it the cancellation of a query?
    pub fn is_cancel(&self) -> bool {
        const QUERY_CANCELED: i32 = pgrx::PgSqlErrorCode::ERRCODE_QUERY_CANCELED as i32;
        // SAFETY: the error is on top of the server's error stack.
        unsafe { geterrcode() == QUERY_CANCELED }
    }

    /// Drops the error, to be replaced by another.
    pub fn replace(self) {
        // SAFETY: what raises next starts with a clean stack.
        unsafe { FlushErrorState() };
    }
}

/// Lets the error go on, for the outermost function of a hook.
///
/// # Safety
/// An error is under way and nothing between here and the server's next handler owns anything.
pub unsafe fn rethrow() -> ! {
    // SAFETY: by the caller's promise.
    unsafe { pg_re_throw() }
}
