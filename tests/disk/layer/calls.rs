//! The functions of libc that the layer takes the place of, for std and for the store in this process.

#![expect(unsafe_code, reason = "the one way to stand between the store and the kernel")]

use std::ffi::OsStr;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{bad_reads, full, stalled_syncs, synced, written};

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
    if let Some(errno) = full::over_quota(fd, at, count) {
        return fault(errno) as isize;
    }
    let result = unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) } as isize;
    written(fd, at, result);
    result
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(fd: RawFd, bytes: *const libc::c_void, count: usize, at: i64) -> isize {
    if let Some(errno) = full::over_quota(fd, at, count) {
        return fault(errno) as isize;
    }
    let result = unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, count, at) } as isize;
    written(fd, at, result);
    result
}

#[unsafe(no_mangle)]
extern "C" fn pread64(fd: RawFd, bytes: *mut libc::c_void, count: usize, at: i64) -> isize {
    if bad_reads::fails(fd, at, count) {
        return fault(libc::EIO) as isize;
    }
    unsafe { libc::syscall(libc::SYS_pread64, fd, bytes, count, at) as isize }
}

/// The third argument is there only where the flags say so; the system call ignores it otherwise.
#[unsafe(no_mangle)]
extern "C" fn open64(path: *const libc::c_char, flags: i32, mode: libc::mode_t) -> i32 {
    let name = unsafe { std::ffi::CStr::from_ptr(path) };
    if let Some(errno) = bad_reads::refusal(Path::new(OsStr::from_bytes(name.to_bytes()))) {
        return fault(errno);
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
        return fault(errno);
    }
    unsafe { libc::syscall(libc::SYS_linkat, from_dir, from, to_dir, to, flags) as i32 }
}

/// Gives the error itself, unlike the others.
#[unsafe(no_mangle)]
extern "C" fn posix_fallocate(fd: RawFd, at: i64, length: i64) -> i32 {
    if full::over_quota(fd, at, usize::try_from(length).unwrap_or(0)).is_some() {
        return libc::EDQUOT;
    }
    let result = unsafe { libc::syscall(libc::SYS_fallocate, fd, 0, at, length) };
    if result == 0 { 0 } else { unsafe { *libc::__errno_location() } }
}

#[unsafe(no_mangle)]
extern "C" fn statvfs(path: *const libc::c_char, about: *mut libc::statvfs) -> i32 {
    let name = unsafe { std::ffi::CStr::from_ptr(path) };
    // The same function by its other name, and the same bytes.
    let result = unsafe { libc::statvfs64(path, about.cast()) };
    if result == 0 && full::hides_size(Path::new(OsStr::from_bytes(name.to_bytes()))) {
        unsafe { ((*about).f_blocks, (*about).f_bfree, (*about).f_bavail) = (0, 0, 0) };
    }
    result
}

/// The system call itself.
pub(super) fn sync(fd: RawFd, is_data: bool) -> i32 {
    let call = if is_data { libc::SYS_fdatasync } else { libc::SYS_fsync };
    unsafe { libc::syscall(call, fd) as i32 }
}

/// What a function gives back for a disk that fails.
pub(super) fn input_output_error() -> i32 {
    fault(libc::EIO)
}

fn fault(errno: i32) -> i32 {
    unsafe { *libc::__errno_location() = errno };
    -1
}

pub(super) fn path_of(fd: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{fd}"))
}
