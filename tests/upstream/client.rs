//! What is sent, and what the answers become.

use trunkline::event::Lane;
use trunkline::upstream::{Outbound, Upstream, Verdict};

use crate::kit::{
    OK, Reply, SECRET, Server, assert_hides, bearer, client, gzip, request, say, taken, unavailable, verdict,
};

#[tokio::test]
async fn a_request_arrives_as_the_api_wants_it() {
    let reply = Reply::With(200, "inin-correlation-id", "c-1".into(), OK.into());
    let server = Server::start().await.on_api([reply]);
    let client = client(&server.settings());

    let answer = client.send(request()).await;

    assert_eq!(answer.verdict, taken());
    assert_eq!(answer.status, Some(200));
    assert_eq!(answer.correlation_id.as_deref(), Some("c-1"));
    let asked = &server.api_asked()[0];
    assert_eq!(asked.path, "/api/v2/events/users/presence");
    assert_eq!(asked.body, request().body);
    assert_eq!(asked.headers["content-type"], "application/json");
    assert_eq!(asked.headers["accept"], "application/json");
    assert_eq!(asked.headers["user-agent"], format!("trunkline/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(bearer(asked), "Bearer token-1");
    let login = server.book.lock().unwrap().login_asked[0].clone();
    assert_eq!(login.body, "grant_type=client_credentials");
    assert_eq!(login.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(bearer(&login), "Basic Y2xpZW50LTE6czNjcmV0LW9mLXRoZS10ZXN0");
}

#[tokio::test]
async fn a_page_with_status_200_delivers_nothing() {
    let server = Server::start().await.on_api([say(200, "<html>hotel network</html>")]);
    let client = client(&server.settings());

    assert_eq!(verdict(&client).await, Verdict::NotTheApi);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let reply = Reply::With(307, "location", "/elsewhere".into(), String::new());
    let server = Server::start().await.on_api([reply]);
    let client = client(&server.settings());

    let found = verdict(&client).await;

    assert_eq!(found, Verdict::Misconfigured { reason: "307, a redirect".into() });
    assert_eq!(server.api_asked().len(), 1);
}

#[tokio::test]
async fn neither_secret_nor_token_shows_anywhere() {
    let echo = |token: &str| {
        format!(
            r#"{{"message":"saw {token}","code":"{token}","details":["{token}"],"errors":[{{"eventId":"{token}","message":"{token}"}}]}}"#
        )
    };
    for status in [200, 400, 401, 403, 404, 409, 413, 503] {
        let replies = [1, 2].map(|n| {
            let header = format!("token-{n}");
            Reply::With(status, "inin-correlation-id", header.clone(), echo(&header))
        });
        let server = Server::start().await.on_api(replies);
        let client = client(&server.settings());

        let answer = client.send(request()).await;

        assert_eq!(answer.status, Some(status));
        for hidden in ["token-1", "token-2", SECRET] {
            assert_hides(&answer, hidden);
            assert_hides(&client, hidden);
            assert_hides(&*client.login().borrow(), hidden);
        }
    }
}

#[tokio::test]
async fn the_skew_of_our_clock_is_read_from_the_answers_date() {
    let date = "Tue, 24 Nov 2026 12:00:30 GMT";
    let server = Server::start().await.on_api([Reply::With(200, "date", date.into(), OK.into())]);
    let client = client(&server.settings());
    let before = client.clock_skew_seconds();

    client.send(request()).await;

    assert_eq!((before, client.clock_skew_seconds()), (None, Some(-30)));
}

#[tokio::test]
async fn an_answer_that_is_compressed_unasked_is_read() {
    let server = Server::start().await.on_api([Reply::Bytes(200, "content-encoding", "gzip", gzip(OK))]);
    let grant = gzip(r#"{"access_token":"t","expires_in":3600}"#);
    let server = server.on_login([Reply::Bytes(200, "content-encoding", "gzip", grant)]);
    let client = client(&server.settings());

    assert_eq!(verdict(&client).await, taken());

    assert_eq!(server.api_asked()[0].headers["accept-encoding"], "identity");
    let login = server.book.lock().unwrap().login_asked[0].clone();
    assert_eq!(login.headers["accept-encoding"], "identity");
    assert_eq!(server.api_asked().len(), 1);
}

#[tokio::test]
async fn an_answer_that_cannot_be_decoded_delivers_nothing_and_is_told_as_that() {
    let server = Server::start().await.on_api([
        Reply::Bytes(200, "content-encoding", "br", b"\x0b\x06\x80".into()),
        Reply::Bytes(200, "content-encoding", "gzip", b"no gzip".into()),
        Reply::Bytes(200, "content-encoding", "gzip", gzip(&" ".repeat(2 * 1024 * 1024))),
    ]);
    let client = client(&server.settings());

    let found = [verdict(&client).await, verdict(&client).await, verdict(&client).await];

    let br = "200, its body cannot be read: unrequested Content-Encoding br";
    let not_gzip = "200, its body cannot be read: it is not valid gzip";
    assert_eq!(found, [unavailable(br, true), unavailable(not_gzip, true), Verdict::NotTheApi]);
}

#[tokio::test]
async fn each_lane_has_its_path() {
    let server = Server::start().await;
    let client = client(&server.settings());

    for lane in Lane::ALL {
        let answer = client.send(Outbound { lane, ..request() }).await;
        assert_eq!(answer.verdict, taken());
    }

    let paths: Vec<_> = server.api_asked().into_iter().map(|asked| asked.path).collect();
    let expected = [
        "/api/v2/events/conversations",
        "/api/v2/events/users/presence",
        "/api/v2/events/users/routingstatus",
        "/api/v2/events/routing/customkpiattributions",
    ];
    assert_eq!(paths, expected);
}
