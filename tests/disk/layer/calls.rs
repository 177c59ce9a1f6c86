//! The functions of libc that the layer takes the place of, for std and for the store in this process.

#![expect(unsafe_code, reason = "the one way to stand between the store and the kernel")]

use std::ffi::OsStr;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{bad_reads, stalled_syncs, synced, written};

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: RawFd) -> i32 {
    synced(fd, false)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: RawFd) -> i32 {
    stalled_syncs::wait(fd);
    synced(fd, true)
}

#[unsafe(no_mangle)]
extern "C" fn write(fd: RawFd, bytes: *const libc::c_void, count: usize) -> isize {
    let at = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    let result = unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) } as isize;
    written(fd, at, result);
    result
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(fd: RawFd, bytes: *const libc::c_void, count: usize, at: i64) -> isize {
    let result = unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, count, at) } as isize;
    written(fd, at, result);
    result
}

#[unsafe(no_mangle)]
extern "C" fn pread64(fd: RawFd, bytes: *mut libc::c_void, count: usize, at: i64) -> isize {
    if bad_reads::fails(fd, at, count) {
        return input_output_error() as isize;
    }
    unsafe { libc::syscall(libc::SYS_pread64, fd, bytes, count, at) as isize }
}

/// The third argument is there only where the flags say so; the system call ignores it otherwise.
#[unsafe(no_mangle)]
extern "C" fn open64(path: *const libc::c_char, flags: i32, mode: libc::mode_t) -> i32 {
    let name = unsafe { std::ffi::CStr::from_ptr(path) };
    if let Some(errno) = bad_reads::refusal(Path::new(OsStr::from_bytes(name.to_bytes()))) {
        unsafe { *libc::__errno_location() = errno };
        return -1;
    }
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags | libc::O_LARGEFILE, mode) as i32 }
}

#[unsafe(no_mangle)]
extern "C" fn linkat(
    from_dir: RawFd,
    from: *const libc::c_char,
    to_dir: RawFd,
    to: *const libc::c_char,
    flags: i32,
) -> i32 {
    let name = unsafe { std::ffi::CStr::from_ptr(to) };
    if let Some(errno) = bad_reads::link_refusal(Path::new(OsStr::from_bytes(name.to_bytes()))) {
        unsafe { *libc::__errno_location() = errno };
        return -1;
    }
    unsafe { libc::syscall(libc::SYS_linkat, from_dir, from, to_dir, to, flags) as i32 }
}

/// The system call itself.
pub(super) fn sync(fd: RawFd, is_data: bool) -> i32 {
    let call = if is_data { libc::SYS_fdatasync } else { libc::SYS_fsync };
    unsafe { libc::syscall(call, fd) as i32 }
}

/// What a function gives back for a disk that fails.
pub(super) fn input_output_error() -> i32 {
    unsafe { *libc::__errno_location() = libc::EIO };
    -1
}

pub(super) fn path_of(fd: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{fd}"))
}
