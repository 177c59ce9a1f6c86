//! `[upstream]`: where the API is and how to log in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::key::{ConfigKey, ValueType, key, unset};
use super::parse::is_proxy;
use super::regions::{self, Endpoints};
use super::values::Values;

/// How to log in.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// OAuth client credentials.
    Client {
        /// `upstream.client_id`
        id: String,
        /// `upstream.client_secret`, if it is in file or environment.
        secret: Option<SecretString>,
        /// Where else to look for the secret, in order: `client_secret_file` alone if it is set, else
        /// `$CREDENTIALS_DIRECTORY/client_secret`, `/etc/trunkline/client_secret`.
        secret_files: Vec<PathBuf>,
    },
    /// A file with an access token that somebody else renews.
    AccessTokenFile(PathBuf),
}

/// `[upstream]`
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Where the API is.
    pub endpoints: Endpoints,
    /// How to log in.
    pub credentials: Credentials,
    /// Time limit for connecting.
    pub connect_timeout: Duration,
    /// Time limit for a whole request.
    pub request_timeout: Duration,
    /// Proxy URL; `None`: `HTTPS_PROXY` and `NO_PROXY` count.
    pub proxy: Option<String>,
    /// PEM file with CA certificates to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
}

/// The client id of the samples: no organisation's.
const SAMPLE_CLIENT_ID: &str = "00000000-0000-4000-8000-000000000000";

pub(super) const KEYS: &[ConfigKey] = &[
    unset(
        "upstream.region",
        "\"eu-central-1\"",
        ValueType::Text,
        "Region of your organisation. Otherwise set api_url and login_url.",
    ),
    unset(
        "upstream.api_url",
        "\"https://api.mypurecloud.de\"",
        ValueType::Url,
        "Base URL of the API, if region is not set.",
    ),
    unset(
        "upstream.login_url",
        "\"https://login.mypurecloud.de\"",
        ValueType::Url,
        "Base URL of the login host, if region is not set.",
    ),
    unset(
        "upstream.client_id",
        "\"00000000-0000-4000-8000-000000000000\"",
        ValueType::Text,
        "Id of the OAuth client (client credentials grant). Otherwise set access_token_file.",
    ),
    unset(
        "upstream.client_secret",
        "\"…\"",
        ValueType::Secret,
        "The client's secret; client_secret_file is safer.",
    ),
    unset(
        "upstream.client_secret_file",
        "\"/etc/trunkline/client_secret\"",
        ValueType::Path,
        "File with the secret. Not set: $CREDENTIALS_DIRECTORY/client_secret, then /etc/trunkline/client_secret.",
    ),
    unset(
        "upstream.access_token_file",
        "\"/run/trunkline/access_token\"",
        ValueType::Path,
        "File with an access token that another program renews, instead of client_id.",
    ),
    key("upstream.connect_timeout", "5s", ValueType::Duration { off: false }, "Time limit for connecting."),
    key(
        "upstream.request_timeout",
        "30s",
        ValueType::Duration { off: false },
        "Time limit for a whole request.",
    ),
    unset(
        "upstream.proxy",
        "\"http://proxy.example:3128\"",
        ValueType::Proxy,
        "Proxy. Not set: HTTPS_PROXY and NO_PROXY apply.",
    ),
    unset(
        "upstream.ca_file",
        "\"/etc/trunkline/ca.pem\"",
        ValueType::Path,
        "PEM file with CA certificates to trust in addition to the system's.",
    ),
];

/// Reads the section. `credentials_dir` is systemd's `$CREDENTIALS_DIRECTORY`.
pub(super) fn read(values: &mut Values<'_>, credentials_dir: Option<&Path>) -> UpstreamConfig {
    UpstreamConfig {
        endpoints: endpoints(values),
        credentials: credentials(values, credentials_dir),
        connect_timeout: values.duration("upstream.connect_timeout"),
        request_timeout: values.duration("upstream.request_timeout"),
        proxy: values.checked("upstream.proxy", is_proxy),
        ca_file: values.path("upstream.ca_file"),
    }
}

fn endpoints(values: &mut Values<'_>) -> Endpoints {
    let api_url = values.url("upstream.api_url");
    let login_url = values.url("upstream.login_url");
    let by_url = values.is_set("upstream.api_url") || values.is_set("upstream.login_url");
    let both = values.is_set("upstream.api_url") && values.is_set("upstream.login_url");
    let by_region = values.is_set("upstream.region");
    let names = ["upstream.region", "upstream.api_url", "upstream.login_url"];
    let allowed = "upstream.region, or upstream.api_url together with upstream.login_url";
    let advice = match (by_region, by_url) {
        (true, true) => "remove upstream.region, or both URLs",
        (false, true) => "set the other URL too",
        _ => "set upstream.region to your organisation's region, e.g. \"eu-central-1\"",
    };
    values.require(by_region != by_url && (by_region || both), &names, allowed, advice);
    let explicit = Endpoints {
        region: None,
        api_url: api_url.unwrap_or_default(),
        login_url: login_url.unwrap_or_default(),
    };
    let Some(name) = values.text("upstream.region") else {
        return explicit;
    };
    match regions::by_name(&name) {
        Some(region) => region.endpoints(),
        None => {
            values.fault("upstream.region", format!("one of {}", regions::all_names()), regions::hint(&name));
            explicit
        }
    }
}

fn credentials(values: &mut Values<'_>, credentials_dir: Option<&Path>) -> Credentials {
    let id = values.credential("upstream.client_id");
    // What is accepted belongs to the organisation of the client: nothing is, before there is one.
    if id.as_deref() == Some(SAMPLE_CLIENT_ID) {
        values.fault(
            "upstream.client_id",
            "the id of an OAuth client".to_owned(),
            "this is the id from the sample file; use the id that Genesys Cloud shows for your OAuth client"
                .to_owned(),
        );
    }
    let secret = values.credential("upstream.client_secret").map(SecretString::from);
    let secret_file = values.path("upstream.client_secret_file");
    let token_file = values.path("upstream.access_token_file");
    let by_client = values.is_set("upstream.client_id");
    let by_token = values.is_set("upstream.access_token_file");
    let advice = if by_client {
        "remove one of the two"
    } else {
        "set upstream.client_id to the id of your OAuth client"
    };
    values.require(
        by_client != by_token,
        &["upstream.client_id", "upstream.access_token_file"],
        "upstream.client_id or upstream.access_token_file, not both",
        advice,
    );
    let (has_secret, has_file) =
        (values.is_set("upstream.client_secret"), values.is_set("upstream.client_secret_file"));
    values.require(
        !(has_secret && has_file),
        &["upstream.client_secret", "upstream.client_secret_file"],
        "upstream.client_secret or upstream.client_secret_file, not both",
        "remove upstream.client_secret: a separate file is easier to protect",
    );
    values.require(
        !(by_token && !by_client && (has_secret || has_file)),
        &["upstream.client_secret", "upstream.client_secret_file", "upstream.access_token_file"],
        "no client secret with upstream.access_token_file",
        "remove the secret, or set upstream.client_id instead of upstream.access_token_file",
    );
    match token_file {
        Some(path) => Credentials::AccessTokenFile(path),
        None => Credentials::Client {
            id: id.unwrap_or_default(),
            secret,
            secret_files: secret_file
                .map_or_else(|| default_secret_files(credentials_dir), |path| vec![path]),
        },
    }
}

fn default_secret_files(credentials_dir: Option<&Path>) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = credentials_dir.map(|dir| dir.join("client_secret")).into_iter().collect();
    files.push("/etc/trunkline/client_secret".into());
    files
}
