//! `top` on a real terminal of 80 by 24, with and without colour.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use nix::pty::{Winsize, openpty};
use serde_json::json;
use uuid::Uuid;

use crate::common::{Home, Sandbox, eventually, hold_event, trunkline};

const SIZE: (u16, u16) = (24, 80);

/// What a terminal would show after `bytes`: the little that `top` uses of the control sequences.
fn screen(bytes: &[u8]) -> Vec<String> {
    let mut parser = vt100::Parser::new(SIZE.0, SIZE.1, 0);
    parser.process(bytes);
    parser.screen().rows(0, SIZE.1).collect()
}

fn top(home: &Home, no_colour: bool) -> (std::process::Child, std::fs::File) {
    let size = Winsize { ws_row: SIZE.0, ws_col: SIZE.1, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).unwrap();
    let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    let mut command = trunkline();
    command.args(["top", "--interval", "200ms", "--config"]).arg(home.config());
    command
        .stdin(end(&pty.slave))
        .stdout(end(&pty.slave))
        .stderr(end(&pty.slave))
        .env("TERM", "xterm-256color");
    if no_colour {
        command.env("NO_COLOR", "1");
    }
    let child = command.spawn().unwrap();
    drop(pty.slave);
    (child, std::fs::File::from(pty.master))
}

/// Reads until the screen has `wanted`; gives all bytes.
fn shown(terminal: &mut std::fs::File, seen: &mut Vec<u8>, wanted: &str) -> Vec<String> {
    let mut buffer = [0; 16 * 1024];
    for _ in 0..400 {
        let length = terminal.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..length]);
        let rows = screen(seen);
        if rows.iter().any(|row| row.contains(wanted)) {
            return rows;
        }
    }
    panic!("never {wanted:?}: {:#?}", screen(seen));
}

#[test]
fn eighty_by_twenty_four_show_words_lanes_sparklines_and_facts() {
    let sandbox = Sandbox::start(&["--requests-per-minute", "1000000"]);
    sandbox.set_faults(&json!({"deny": "conversation:conversation:inject"}));
    let home = Home::new(&sandbox.addr, "");
    let _daemon = home.run();
    home.producer().ask(&hold_event(Uuid::new_v4(), 1).1);
    eventually("the lane is held", || home.status()["state"] == "forbidden");

    for no_colour in [false, true] {
        let (mut child, mut terminal) = top(&home, no_colour);
        let mut seen = Vec::new();
        let rows = shown(&mut terminal, &mut seen, "token ");
        terminal.write_all(b"q").unwrap();
        let status = child.wait().unwrap();

        let all = rows.join("\n");
        for wanted in [
            "holding conversations: ",
            "conversation:conversation:inject",
            "conversations  forbidden",
            "presence",
            "accepted",
            "oldest",
            "events a request",
            "budget",
            "dead letters",
            "disk",
        ] {
            assert!(all.contains(wanted), "{wanted:?} is not on\n{all}");
        }
        assert!(status.success());
        let text = String::from_utf8_lossy(&seen).into_owned();
        let has_colour = ["\u{1b}[31", "\u{1b}[38;5", "\u{1b}[33"].iter().any(|code| text.contains(code));
        assert_eq!(has_colour, !no_colour, "{text:?}");
    }
}

#[test]
fn a_pause_that_is_none_and_a_demonstration_of_no_time_are_64_and_say_what_is_allowed() {
    for (args, allowed) in [
        (["top", "--interval", "0s"], "at least 100ms"),
        (["top", "--interval", "99ms"], "at least 100ms"),
        (["demo", "--for", "0s"], "at least 1ms"),
    ] {
        let output = trunkline().args(args).output().unwrap();

        assert_eq!(output.status.code(), Some(64), "{args:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(allowed), "{output:?}");
    }
}
