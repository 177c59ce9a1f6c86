//! A disk that fails to read or open for a while, damage, and a clock that is set, under the daemon as a process: what
//! was accepted is delivered once and in order, and nothing is given up.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use serde_json::json;
use uuid::Uuid;

use crate::common::{Home, Running, Sandbox, accepted, eventually, hold_event, within};

/// Calls of the C library that fail while a file is there: reads of databases below `BAD_DIR`, and opens of what a
/// segment is made of with the number that the file holds; and a wall clock that is ahead by as many seconds.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
/* The number in the file; 0: there is none. */
static long flag(const char *name) {
    const char *path = getenv(name);
    if (!path) return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
    if (fd < 0) return 0;
    char text[32] = {0};
    long got = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    return got > 0 ? atol(text) : 0;
}
static int is_of_a_segment(const char *path, const char *end) {
    const char *dir = getenv("BAD_DIR");
    size_t length = strlen(path), tail = strlen(end);
    return dir && strncmp(path, dir, strlen(dir)) == 0 && length >= tail && strcmp(path + length - tail, end) == 0;
}
ssize_t pread64(int fd, void *to, size_t count, off64_t at) {
    if (flag("BAD_READS")) {
        char link[64], path[4096] = {0};
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (readlink(link, path, sizeof path - 1) > 0 && is_of_a_segment(path, "/db")) { errno = EIO; return -1; }
    }
    return syscall(SYS_pread64, fd, to, count, at);
}
int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    long number = flag("BAD_OPENS");
    if (number && !(flags & O_CREAT) && (is_of_a_segment(path, "/db") || is_of_a_segment(path, "/header"))) {
        errno = number;
        return -1;
    }
    return syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && result == 0) now->tv_sec += flag("CLOCK_AHEAD");
    return result;
}
"#;

/// A host whose disk and clock can be made bad.
struct Host {
    home: Home,
    sandbox: Sandbox,
    shim: PathBuf,
}

impl Host {
    fn new() -> Self {
        let sandbox = Sandbox::start(&["--requests-per-minute", "100000"]);
        let home = Home::new(&sandbox.addr, "");
        let (source, shim) = (home.path().join("shim.c"), home.path().join("shim.so"));
        std::fs::write(&source, SHIM).unwrap();
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&shim).arg(&source).arg("-ldl").status();
        assert!(built.unwrap().success());
        Self { home, sandbox, shim }
    }

    fn flag(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn set(&self, name: &str, number: i64) {
        // Whole or not at all.
        std::fs::write(self.flag("new"), number.to_string()).unwrap();
        std::fs::rename(self.flag("new"), self.flag(name)).unwrap();
    }

    fn clear(&self, name: &str) {
        std::fs::remove_file(self.flag(name)).unwrap();
    }

    fn lanes(&self) -> PathBuf {
        self.home.path().join("queue/lanes/conversations/00000000000001048576")
    }

    fn spawn(&self) -> Running {
        let paths = ["BAD_READS", "BAD_OPENS", "CLOCK_AHEAD"].map(|name| (name, self.flag(name)));
        let mut env: Vec<(&str, &str)> =
            paths.iter().map(|(name, path)| (*name, path.to_str().unwrap())).collect();
        let dir = self.lanes();
        env.extend([("LD_PRELOAD", self.shim.to_str().unwrap()), ("BAD_DIR", dir.to_str().unwrap())]);
        self.home.spawn_with(&env)
    }

    fn run(&self) -> Running {
        let daemon = self.spawn();
        eventually("the daemon accepts", || {
            std::os::unix::net::UnixStream::connect(self.home.socket()).is_ok()
        });
        daemon
    }

    /// Hands over `count` events of a conversation and gives their ids.
    fn accept(&self, conversation: Uuid, first: u64, count: u64) -> Vec<String> {
        let mut producer = self.home.producer();
        let mut ids = Vec::new();
        for nth in first..first + count {
            let (id, line) = hold_event(conversation, nth);
            assert_eq!(producer.ask(&line), accepted());
            ids.push(id.to_string());
        }
        ids
    }

    /// Everything is delivered, each once and in this order.
    fn delivers(&self, ids: &[String]) {
        eventually("all is delivered", || self.sandbox.taken_ids().len() >= ids.len());
        assert_eq!(self.sandbox.taken_ids(), ids);
        assert!(!self.home.path().join("queue/quarantine").exists());
    }

    fn status_says(&self, words: &str) {
        eventually(words, || self.home.say(&["status"]).contains(words));
    }
}

/// A queue with events in a segment that its next process finds closed, and no upstream.
fn queued(host: &Host, conversation: Uuid) -> Vec<String> {
    host.sandbox.set_faults(&json!({"status": 503}));
    let daemon = host.run();
    let ids = host.accept(conversation, 0, 20);
    daemon.sigterm();
    assert!(daemon.wait().success());
    ids
}

#[test]
fn reads_and_opens_that_fail_at_a_start_and_while_running_hold_the_lane_until_they_work_again() {
    let opens = [Errno::EMFILE, Errno::ENOENT, Errno::EIO].map(|errno| ("BAD_OPENS", errno as i64));
    for (flag, number) in opens.into_iter().chain([("BAD_READS", 1)]) {
        let host = Host::new();
        let conversation = Uuid::new_v4();
        let mut ids = queued(&host, conversation);
        host.set(flag, number);

        let daemon = host.run();
        host.sandbox.set_faults(&json!({"status": null}));
        host.status_says("the queue cannot be read: ");
        ids.extend(host.accept(conversation, 20, 5));
        daemon.sigkill();
        let _daemon = host.run();
        host.status_says("the queue cannot be read: ");
        let early = host.sandbox.taken_ids();
        host.clear(flag);

        assert_eq!(early, [""; 0], "{flag} {number}");
        host.delivers(&ids);
    }
}

#[test]
fn a_start_that_may_not_open_a_segment_ends_with_77_and_its_path() {
    let host = Host::new();
    let conversation = Uuid::new_v4();
    let ids = queued(&host, conversation);
    host.set("BAD_OPENS", Errno::EACCES as i64);

    let refused = host.spawn().wait();
    let log = host.home.log();
    host.clear("BAD_OPENS");
    host.sandbox.set_faults(&json!({"status": null}));
    let _daemon = host.run();

    assert_eq!(refused.code(), Some(77), "{log}");
    assert!(log.contains("00000000000001048576/header"), "{log}");
    host.delivers(&ids);
}

#[test]
fn what_was_delivered_stays_delivered_after_starts_that_could_not_read_it() {
    let host = Host::new();
    let conversation = Uuid::new_v4();
    let daemon = host.run();
    let mut ids = host.accept(conversation, 0, 10);
    eventually("the first ten are settled", || {
        host.sandbox.taken_ids().len() == 10 && host.home.status()["queue_events"] == 0
    });
    host.sandbox.set_faults(&json!({"status": 503}));
    ids.extend(host.accept(conversation, 10, 10));
    daemon.sigkill();

    host.set("BAD_READS", 1);
    for _ in 0..2 {
        let daemon = host.run();
        host.status_says("the queue cannot be read: ");
        daemon.sigterm();
        assert!(daemon.wait().success());
    }
    host.clear("BAD_READS");
    host.sandbox.set_faults(&json!({"status": null}));
    let _daemon = host.run();

    host.delivers(&ids);
}

#[test]
fn a_clock_that_is_a_month_ahead_for_a_while_discards_no_dead_letter() {
    let host = Host::new();
    let conversation = Uuid::new_v4();
    host.sandbox.set_faults(&json!({"reject_event_rate": 1.0}));
    let daemon = host.run();
    host.accept(conversation, 0, 3);
    eventually("three letters", || host.home.status()["dead_letters"] == 3);
    host.sandbox.set_faults(&json!({"status": 503}));

    host.set("CLOCK_AHEAD", 31 * 86_400);
    eventually("the daemon notices", || host.home.log().contains("the wall clock was set"));
    host.accept(conversation, 3, 1);
    daemon.sigterm();
    assert!(daemon.wait().success());
    // Old letters are looked for at once at each start.
    let daemon = host.run();
    assert_eq!(host.home.status()["dead_letters"], 3);
    daemon.sigkill();
    host.clear("CLOCK_AHEAD");
    let _daemon = host.run();

    assert_eq!(host.home.status()["dead_letters"], 3);
}

#[test]
fn a_sparse_database_far_larger_than_the_memory_is_read_at_a_start() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "100000"]);
    sandbox.set_faults(&json!({"status": 503}));
    let home = Home::new(&sandbox.addr, "");
    let daemon = home.run();
    let (id, line) = hold_event(Uuid::new_v4(), 1);
    assert_eq!(home.producer().ask(&line), accepted());
    // A kill leaves a segment that the next start has to measure.
    daemon.sigkill();
    let db = home.path().join("queue/lanes/conversations/00000000000001048576/db");
    std::fs::File::options().write(true).open(db).unwrap().set_len(6 << 30).unwrap();
    sandbox.set_faults(&json!({"status": null}));

    let log = std::fs::File::options().append(true).open(home.path().join("log")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 3000000 && exec \"$0\" run --config \"$1\""]);
    command.arg(env!("CARGO_BIN_EXE_trunkline")).arg(home.config()).stderr(log);
    let mut daemon = command.spawn().unwrap();

    eventually("the event is delivered", || sandbox.taken_ids() == [id.to_string()]);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

/// Changes a byte of every copy of `text` in the file.
fn damage(db: &Path, text: &str) {
    let mut raw = std::fs::read(db).unwrap();
    let found: Vec<usize> = memchr::memmem::find_iter(&raw, text).collect();
    assert!(!found.is_empty());
    found.into_iter().for_each(|at| raw[at] ^= 1);
    std::fs::write(db, raw).unwrap();
}

#[test]
fn an_event_that_was_lost_to_damage_is_named_and_no_repeat_when_it_comes_again() {
    let host = Host::new();
    host.sandbox.set_faults(&json!({"status": 503}));
    let daemon = host.run();
    let (id, line) = hold_event(Uuid::new_v4(), 1);
    assert_eq!(host.home.producer().ask(&line), accepted());
    let ids = host.accept(Uuid::new_v4(), 2, 3);
    daemon.sigterm();
    assert!(daemon.wait().success());
    damage(&host.lanes().join("db"), &id.to_string());
    host.sandbox.set_faults(&json!({"status": null}));

    let _daemon = host.run();
    eventually("the others are delivered", || host.sandbox.taken_ids() == ids);
    eventually("the log has it", || host.home.log().contains("part of the queue is damaged"));
    eventually("trace says that it is lost", || {
        let said = host.home.cli(&["trace", &id.to_string()]);
        String::from_utf8_lossy(&said.stdout).contains("lost")
    });
    assert_eq!(host.home.producer().ask(&line), accepted());

    within(crate::common::PATIENCE, "it is delivered after all", || {
        host.sandbox.taken_ids().contains(&id.to_string())
    });
}
