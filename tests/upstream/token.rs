//! Logins, tokens, and the secrets behind them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use trunkline::clock::Clock;
use trunkline::upstream::{Client, RateLimiter, Standing, Upstream, Verdict};

use crate::kit::{
    NOW_MS, OK, Reply, SECRET, Server, assert_hides, bearer, client, file, refused, request, say, taken,
    unauthorized, unavailable, verdict, with_secret_file, with_token_file,
};

#[tokio::test]
async fn a_login_is_made_once_for_all_who_wait() {
    let server = Server::start().await;
    server.book.lock().unwrap().login_delay = Duration::from_millis(100);
    let client = client(&server.settings());

    let sent: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { verdict(&client).await }
            })
        })
        .collect();
    for sent in sent {
        assert_eq!(sent.await.unwrap(), taken());
    }

    assert_eq!(server.logins(), 1);
    assert_eq!(server.api_asked().len(), 20);
}

#[tokio::test]
async fn a_refused_login_is_shared_by_all_who_wait() {
    let server = Server::start().await.on_login(vec![say(400, r#"{"error":"invalid_client"}"#); 20]);
    server.book.lock().unwrap().login_delay = Duration::from_millis(100);
    let client = client(&server.settings());

    let sent: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { verdict(&client).await }
            })
        })
        .collect();
    for sent in sent {
        let found = sent.await.unwrap();
        assert_eq!(found, refused("login refused: invalid_client (client id client-1)"));
    }

    assert_eq!(server.logins(), 1);
    assert!(server.api_asked().is_empty());
}

#[tokio::test]
async fn a_401_gets_one_new_token_and_one_retry() {
    let server = Server::start().await.on_api([unauthorized("bad.credentials")]);
    let client = client(&server.settings());

    assert_eq!(verdict(&client).await, taken());

    let asked = server.api_asked();
    assert_eq!(asked.iter().map(bearer).collect::<Vec<_>>(), ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(server.logins(), 2);
}

#[tokio::test]
async fn a_token_that_was_taken_may_be_replaced_again_at_once() {
    let no = || unauthorized("bad.credentials");
    let server = Server::start().await.on_api([no(), say(200, OK), no(), say(200, OK)]);
    let client = client(&server.settings());

    assert_eq!(verdict(&client).await, taken());
    assert_eq!(verdict(&client).await, taken());

    assert_eq!(server.logins(), 3);
}

#[tokio::test]
async fn an_api_that_refuses_fresh_tokens_does_not_hammer_the_login_host() {
    let server = Server::start().await.on_api(vec![unauthorized("bad.credentials"); 100]);
    let clock = Clock::manual(NOW_MS);
    let client = Client::new(&server.settings(), clock.clone()).unwrap();

    assert_eq!(verdict(&client).await, refused("bad.credentials"));
    for _ in 0..20 {
        assert!(matches!(verdict(&client).await, Verdict::Unauthorized { .. }));
    }
    let at_once = server.logins();
    clock.advance(Duration::from_secs(1));
    for _ in 0..20 {
        assert!(matches!(verdict(&client).await, Verdict::Unauthorized { .. }));
    }

    assert_eq!(at_once, 2);
    assert_eq!(server.logins(), 3);
}

#[tokio::test]
async fn an_address_that_may_not_log_in_gets_no_new_token() {
    let server = Server::start().await.on_api([unauthorized("ip.not.authorized")]);
    let client = client(&server.settings());

    assert_eq!(verdict(&client).await, refused("ip.not.authorized"));

    assert_eq!(server.logins(), 1);
    assert_eq!(server.api_asked().len(), 1);
}

#[tokio::test]
async fn a_secret_that_was_changed_after_a_refusal_is_picked_up() {
    let server = Server::start().await.on_login([say(401, r#"{"error":"invalid_client"}"#)]);
    let (_dir, path) = file("wrong\n");
    let clock = Clock::manual(NOW_MS);
    let client = Client::new(&with_secret_file(server.settings(), &path), clock.clone()).unwrap();

    let before = verdict(&client).await;
    std::fs::write(&path, format!("{SECRET}\r\n")).unwrap();
    let within_pause = verdict(&client).await;
    clock.advance(Duration::from_secs(1));
    let after = verdict(&client).await;

    let reason = "login refused: invalid_client (client id client-1)";
    assert_eq!((before, within_pause, after), (refused(reason), refused(reason), taken()));
    let asked = server.book.lock().unwrap().login_asked.clone();
    assert_eq!(asked.len(), 2);
    assert_eq!(bearer(&asked[1]), "Basic Y2xpZW50LTE6czNjcmV0LW9mLXRoZS10ZXN0");
}

#[tokio::test]
async fn a_missing_secret_names_the_path_and_is_found_when_it_comes() {
    let server = Server::start().await;
    let (_dir, path) = file("");
    std::fs::remove_file(&path).unwrap();
    let clock = Clock::manual(NOW_MS);
    let client = Client::new(&with_secret_file(server.settings(), &path), clock.clone()).unwrap();

    let before = verdict(&client).await;
    let fault = client.login().borrow().fault.clone();
    std::fs::write(&path, SECRET).unwrap();
    clock.advance(Duration::from_secs(1));
    let after = verdict(&client).await;

    let reason =
        format!("no secret found in {}; put it there, readable by the daemon's user only", path.display());
    assert_eq!(before, refused(&reason));
    assert_eq!(fault, Some(reason));
    assert_eq!(after, taken());
    assert_eq!(server.logins(), 1);
}

#[tokio::test]
async fn a_secret_that_worked_stays_in_use_though_its_file_and_the_login_host_are_gone_for_a_while() {
    let server = Server::start().await;
    let (_dir, path) = file(SECRET);
    let clock = Clock::manual(NOW_MS);
    let client = Client::new(&with_secret_file(server.settings(), &path), clock.clone()).unwrap();
    let first = verdict(&client).await;
    let _server = server.on_login([say(503, "")]);

    std::fs::remove_file(&path).unwrap();
    clock.advance(Duration::from_secs(48 * 3600));
    let unwell = verdict(&client).await;
    clock.advance(Duration::from_secs(60));
    let well = verdict(&client).await;

    assert!(matches!(unwell, Verdict::Unavailable { .. }), "{unwell:?}");
    assert_eq!((first, well), (taken(), taken()));
}

#[tokio::test]
async fn an_empty_secret_file_is_told_with_its_path() {
    let server = Server::start().await;
    let (_dir, path) = file("\n");
    let client = client(&with_secret_file(server.settings(), &path));

    let found = verdict(&client).await;

    assert_eq!(found, refused(&format!("{} is empty; write the secret into it", path.display())));
    assert_eq!(server.logins(), 0);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_runs_out_and_used_on_while_that_fails() {
    let clock = Clock::manual(NOW_MS);
    let server = Server::start().await;
    let client = Client::new(&server.settings(), clock.clone()).unwrap();
    assert_eq!(verdict(&client).await, taken());

    clock.advance(Duration::from_secs(899));
    assert_eq!(verdict(&client).await, taken());
    let young = server.logins();
    clock.advance(Duration::from_secs(1));
    let server = server.on_login([say(503, "")]);
    let mut told = client.login();
    assert_eq!(verdict(&client).await, taken());
    let login = told.wait_for(|login| login.fault.is_some()).await.unwrap().clone();
    clock.advance(Duration::from_secs(1));
    assert_eq!(verdict(&client).await, taken());
    told.wait_for(|login| login.fault.is_none()).await.unwrap();
    assert_eq!(verdict(&client).await, taken());

    assert_eq!(young, 1);
    assert_eq!(login.fault.as_deref(), Some("login host answers 503"));
    assert_eq!(login.expires_at_ms, Some(NOW_MS + 1_000_000));
    assert_eq!(server.logins(), 3);
    let bearers: Vec<_> = server.api_asked().iter().map(|asked| bearer(asked).to_owned()).collect();
    assert_eq!(
        bearers,
        ["Bearer token-1", "Bearer token-1", "Bearer token-1", "Bearer token-1", "Bearer token-2"]
    );
}

#[tokio::test]
async fn a_login_host_that_hangs_does_not_hold_up_what_a_good_token_can_send() {
    let clock = Clock::manual(NOW_MS);
    let server = Server::start().await;
    let client = Client::new(&server.settings(), clock.clone()).unwrap();
    assert_eq!(verdict(&client).await, taken());
    clock.advance(Duration::from_secs(900));
    let let_go = Arc::new(Notify::new());
    let server = server.on_login([Reply::Held(let_go.clone())]);

    let sent = [verdict(&client).await, verdict(&client).await, verdict(&client).await];
    let mut told = client.login();
    let meanwhile = told.borrow().fault.is_none();
    let_go.notify_one();
    let failed = told.wait_for(|login| login.fault.is_some()).await.unwrap().clone();

    assert_eq!(sent, [taken(), taken(), taken()]);
    assert!(meanwhile, "they waited for the login");
    assert_eq!(server.logins(), 2);
    assert_eq!(failed.expires_at_ms, Some(NOW_MS + 1_000_000));
}

#[tokio::test]
async fn the_login_shows_in_the_status() {
    let server = Server::start().await;
    let client = client(&server.settings());
    let login = client.login();
    let before = login.borrow().clone();

    let told = client.log_in().await;

    assert_eq!(before.expires_at_ms, None);
    assert_eq!(told.expires_at_ms, Some(NOW_MS + 1_000_000));
    assert_eq!(*login.borrow(), told);
    assert_eq!(client.host(), server.address.to_string());
}

#[tokio::test]
async fn an_operator_ends_the_wait_before_the_next_login() {
    let server = Server::start().await;
    let server = server.on_login([Reply::With(429, "retry-after", "3600".into(), String::new())]);
    let client = client(&server.settings());

    let first = verdict(&client).await;
    let waiting = verdict(&client).await;
    client.try_now();
    let after = verdict(&client).await;

    assert!(matches!(first, Verdict::Unavailable { .. }), "{first:?}");
    assert_eq!((waiting, after), (first, taken()));
    assert_eq!(server.book.lock().unwrap().login_asked.len(), 2);
}

#[tokio::test]
async fn the_login_hosts_rate_limit_is_waited_for() {
    let body = r#"{"error":"invalid_request","error_description":"rate limit exceeded"}"#;
    let server = Server::start().await.on_login([Reply::With(400, "retry-after", "7".into(), body.into())]);
    let clock = Clock::manual(NOW_MS);
    let client = Client::new(&server.settings(), clock.clone()).unwrap();

    let answer = client.send(request()).await;
    clock.advance(Duration::from_secs(7));
    let early = verdict(&client).await;
    clock.advance(Duration::from_secs(1));
    let late = verdict(&client).await;

    let limited = unavailable("login host's rate limit exceeded", false);
    assert_eq!(answer.retry_after, Some(Duration::from_secs(8)));
    assert_eq!((answer.verdict, early, late), (limited.clone(), limited, taken()));
}

#[tokio::test]
async fn an_access_token_file_is_read_again_after_a_401() {
    let server = Server::start().await.on_api([say(200, OK), unauthorized("bad.credentials")]);
    let (_dir, path) = file("old-token\n");
    let client = client(&with_token_file(server.settings(), &path));

    assert_eq!(verdict(&client).await, taken());
    std::fs::write(&path, "new-token\n").unwrap();
    let begun_before = verdict(&client).await;
    assert_eq!(verdict(&client).await, taken());

    // It may be another organisation's: what was begun for the one before is not sent with it.
    assert_eq!(begun_before, unavailable("the account was changed meanwhile", false));
    let bearers: Vec<_> = server.api_asked().iter().map(|asked| bearer(asked).to_owned()).collect();
    assert_eq!(bearers, ["Bearer old-token", "Bearer old-token", "Bearer new-token"]);
    assert_eq!(server.logins(), 0);
}

#[tokio::test]
async fn a_token_that_a_reload_found_in_the_file_sends_nothing_until_it_is_cleared() {
    let server = Server::start().await;
    let (_dir, path) = file("old-token");
    let settings = with_token_file(server.settings(), &path);
    let client = client(&settings);
    client.gate().guard(Standing::Pending);
    client.log_in().await;
    client.gate().decide(client.gate().account().epoch, Standing::Cleared);
    let before = verdict(&client).await;

    std::fs::write(&path, "new-token").unwrap();
    client.configure(Client::prepare(&settings).unwrap()).await;
    let is_cleared = client.gate().account().standing == Standing::Cleared;
    let sending = tokio::spawn({
        let client = client.clone();
        async move { verdict(&client).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = server.api_asked().len();
    client.gate().decide(client.gate().account().epoch, Standing::Cleared);

    assert_eq!((before, sending.await.unwrap()), (taken(), taken()));
    assert_eq!((is_cleared, asked), (false, 1));
    assert_eq!(bearer(&server.api_asked()[1]), "Bearer new-token");
}

#[tokio::test]
async fn an_access_token_that_nobody_renewed_is_not_tried_twice() {
    let server = Server::start().await.on_api([unauthorized("bad.credentials")]);
    let (_dir, path) = file("old-token");
    let client = client(&with_token_file(server.settings(), &path));

    assert_eq!(verdict(&client).await, refused("bad.credentials"));

    assert_eq!(server.api_asked().len(), 1);
}

#[tokio::test]
async fn a_login_host_that_echoes_the_secret_is_not_quoted() {
    let body = format!(r#"{{"error":"{SECRET}","error_description":"{SECRET}"}}"#);
    for status in [200, 302, 400, 401, 403, 404, 429, 503] {
        let server = Server::start().await.on_login([say(status, &body)]);
        let client = client(&server.settings());

        let answer = client.send(request()).await;

        assert!(!matches!(answer.verdict, Verdict::Taken { .. }));
        assert_hides(&answer, SECRET);
        assert_hides(&*client.login().borrow(), SECRET);
    }
}

#[tokio::test]
async fn a_secret_on_a_mount_that_hangs_is_told_and_found_once_it_comes() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let clock = Clock::manual(NOW_MS);
    let client = Client::new(&with_secret_file(server.settings(), &path), clock.clone()).unwrap();

    let before = verdict(&client).await;
    std::fs::write(&path, SECRET).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, SECRET).unwrap();
    clock.advance(Duration::from_secs(60));
    let mut after = verdict(&client).await;
    while matches!(after, Verdict::Unauthorized { .. }) {
        clock.advance(Duration::from_secs(60));
        after = verdict(&client).await;
    }

    let words = "is not read within 5s: a mount that hangs, or a pipe that nobody writes to?";
    assert_eq!(before, refused(&format!("{} {words}", path.display())));
    assert_eq!(after, taken());
}

#[tokio::test]
async fn expires_in_zero_does_not_log_in_for_each_request() {
    let grant = say(200, r#"{"access_token":"cached","expires_in":0}"#);
    let server = Server::start().await.on_login(vec![grant; 5]);
    let client = client(&server.settings());

    for _ in 0..5 {
        assert_eq!(verdict(&client).await, taken());
    }

    assert_eq!(server.logins(), 1);
}

#[tokio::test]
async fn a_good_token_is_used_on_through_the_pause_after_a_failed_renewal() {
    let server = Server::start().await;
    let clock = Clock::manual(NOW_MS);
    let client = Client::new(&server.settings(), clock.clone()).unwrap();
    let first = verdict(&client).await;
    clock.advance(Duration::from_secs(950));
    let server = server.on_login(vec![say(503, ""); 5]);

    let renewing = verdict(&client).await;
    client.login().wait_for(|login| login.fault.is_some()).await.unwrap();
    let within_pause = verdict(&client).await;

    assert_eq!([first, renewing, within_pause], [taken(), taken(), taken()]);
    assert_eq!(server.logins(), 2);
}

#[derive(Debug, Default)]
struct CountingLimiter(AtomicUsize);

impl RateLimiter for CountingLimiter {
    fn acquire(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.0.fetch_add(1, Ordering::SeqCst);
        })
    }
}

#[tokio::test]
async fn whatever_the_relay_did_not_start_asks_the_pace_first() {
    let server = Server::start().await.on_api([unauthorized("bad.credentials")]);
    let client = client(&server.settings());
    let limiter = Arc::new(CountingLimiter::default());
    client.keep_to(limiter.clone());

    assert_eq!(verdict(&client).await, taken());
    let _ = client.token_owner().await;

    // All but the relay's own request: two logins, the repeat, the question whose token it is.
    assert_eq!(limiter.0.load(Ordering::SeqCst), server.logins() + server.api_asked().len() - 1);
    assert_eq!((server.logins(), server.api_asked().len()), (2, 3));
}

/// While it lets somebody wait, the account turns out to be another's.
#[derive(Debug)]
struct AccountChanges(Client);

impl RateLimiter for AccountChanges {
    fn acquire(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let gate = self.0.gate();
            gate.decide(gate.account().epoch, Standing::Foreign);
        })
    }
}

#[tokio::test]
async fn what_waited_for_the_pace_is_not_sent_if_the_account_turned_out_to_be_anothers() {
    let server = Server::start().await.on_api([say(200, OK), unauthorized("bad.credentials")]);
    let client = client(&server.settings());
    client.gate().guard(Standing::Cleared);
    assert_eq!(verdict(&client).await, taken());
    client.keep_to(Arc::new(AccountChanges(client.clone())));

    let found = verdict(&client).await;

    assert_eq!(found, unavailable("the account was changed meanwhile", false));
    assert_eq!(server.api_asked().len(), 2);
}
