//! Which proxy requests take: `upstream.proxy` for all, else the environment's, by the rules of curl. Pure.
//!
//! The HTTP client would read the environment by itself and pass over what it does not understand. So it is read here,
//! by the same rules: a fault is reported and the proxy named.

use std::fmt;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::fault::ClientError;
use crate::config::{self, mask_url};

/// A proxy on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProxyInUse {
    /// Its URL, password masked.
    shown: String,
    /// The key or variable that names it.
    named_by: &'static str,
}

impl fmt::Display for ProxyInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.shown, self.named_by)
    }
}

/// The proxies on the way to each of the two hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxies {
    pub(super) api: Option<ProxyInUse>,
    pub(super) login: Option<ProxyInUse>,
}

impl Proxies {
    /// The configuration's, else the environment's.
    pub(super) fn new(
        settings: &config::UpstreamConfig,
        environment: &Environment,
    ) -> Result<Self, ClientError> {
        if let Some(url) = &settings.proxy {
            let proxy = Some(ProxyInUse { shown: mask_url(url), named_by: "upstream.proxy" });
            return Ok(Self { api: proxy.clone(), login: proxy });
        }
        let proxy = |url: &str| environment.proxy(url);
        Ok(Self { api: proxy(&settings.endpoints.api_url)?, login: proxy(&settings.endpoints.login_url)? })
    }
}

/// A variable and its value.
type Variable = (&'static str, String);

/// The environment's proxies.
#[derive(Default)]
pub(super) struct Environment {
    https: Option<Variable>,
    http: Option<Variable>,
    /// Hosts that are reached without one, as curl reads them.
    pub(super) no_proxy: String,
}

impl Environment {
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        // In a CGI program a request's header would set it: curl passes over it, too.
        if variable("REQUEST_METHOD").is_some() {
            return Self::default();
        }
        let first = |names: [&'static str; 2]| {
            let set = names.into_iter().find_map(|name| Some((name, variable(name)?)));
            // What sets it from a file leaves a line break behind it.
            let set = set.map(|(name, value)| (name, value.trim().to_owned()));
            set.filter(|(_, value)| !value.is_empty())
        };
        let all = first(["ALL_PROXY", "all_proxy"]);
        Self {
            https: first(["HTTPS_PROXY", "https_proxy"]).or_else(|| all.clone()),
            http: first(["HTTP_PROXY", "http_proxy"]).or(all),
            no_proxy: first(["NO_PROXY", "no_proxy"]).map(|(_, hosts)| hosts).unwrap_or_default(),
        }
    }

    /// The URL of the proxy for https, if it is one.
    pub(super) fn https(&self) -> Option<String> {
        self.https.as_ref().map(|(_, value)| with_scheme(value)).filter(|url| config::is_proxy(url))
    }

    /// The URL of the proxy for http, if it is one.
    pub(super) fn http(&self) -> Option<String> {
        self.http.as_ref().map(|(_, value)| with_scheme(value)).filter(|url| config::is_proxy(url))
    }

    fn proxy(&self, url: &str) -> Result<Option<ProxyInUse>, ClientError> {
        let chosen = if url.starts_with("https:") { &self.https } else { &self.http };
        match chosen {
            Some(_) if is_exempt(url, &self.no_proxy) => Ok(None),
            Some((name, value)) if config::is_proxy(&with_scheme(value)) => {
                Ok(Some(ProxyInUse { shown: mask_url(value), named_by: name }))
            }
            Some((variable, _)) => Err(ClientError::EnvironmentProxy { variable }),
            None => Ok(None),
        }
    }
}

/// The scheme may be missing: curl takes it for http.
fn with_scheme(value: &str) -> String {
    if value.contains("://") { value.to_owned() } else { format!("http://{value}") }
}

fn is_exempt(url: &str, no_proxy: &str) -> bool {
    let matcher = Matcher::builder().all("http://proxy.invalid").no(no_proxy).build();
    url.parse::<Uri>().is_ok_and(|url| matcher.intercept(&url).is_none())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(more: &str) -> config::UpstreamConfig {
        let text = format!(
            "[upstream]\nregion = \"eu-central-1\"\nclient_id = \"c\"\nclient_secret = \"s\"\n{more}"
        );
        config::from_toml_str(&text, Path::new("/"), std::iter::empty()).unwrap().config.upstream
    }

    fn found(more: &str, is_plain: bool, set: &[(&str, &str)]) -> Result<Option<String>, String> {
        let variable =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let environment = if is_plain { Environment::default() } else { Environment::read(variable) };
        let proxies = Proxies::new(&settings(more), &environment).map_err(|error| error.to_string())?;
        Ok(proxies.api.map(|proxy| proxy.to_string()))
    }

    #[test]
    fn the_proxy_is_named_with_what_names_it_and_without_its_password() {
        type Row<'a> = (&'a str, bool, &'a [(&'a str, &'a str)], Option<&'a str>);
        let rows: [Row<'_>; 11] = [
            ("", false, &[], None),
            ("proxy = \"http://u:p@p:1\"", false, &[], Some("http://********@p:1 (upstream.proxy)")),
            ("proxy = \"http://p:1\"", true, &[], Some("http://p:1 (upstream.proxy)")),
            ("", false, &[("HTTPS_PROXY", "http://u:p@p:1")], Some("http://********@p:1 (HTTPS_PROXY)")),
            ("", false, &[("HTTPS_PROXY", " http://p:1 \n")], Some("http://p:1 (HTTPS_PROXY)")),
            ("", false, &[("https_proxy", "p:1")], Some("p:1 (https_proxy)")),
            ("", false, &[("HTTPS_PROXY", ""), ("ALL_PROXY", "http://a:1")], Some("http://a:1 (ALL_PROXY)")),
            ("", false, &[("HTTP_PROXY", "http://p:1")], None),
            ("", true, &[("HTTPS_PROXY", "http://p:1")], None),
            ("", false, &[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "mypurecloud.de")], None),
            ("", false, &[("HTTPS_PROXY", "http://p:1"), ("REQUEST_METHOD", "GET")], None),
        ];

        for (more, is_plain, set, expected) in rows {
            assert_eq!(found(more, is_plain, set), Ok(expected.map(str::to_owned)), "{more} {set:?}");
        }
    }

    #[test]
    fn a_variable_that_is_no_proxys_url_is_told_by_its_name_only_and_only_where_it_counts() {
        for value in ["socks5://s3cret@p:1", "http://u:s3cret@", "ftp://s3cret@p", "http://s3cret p"] {
            let told = found("", false, &[("HTTPS_PROXY", value)]).unwrap_err();

            assert!(told.starts_with("HTTPS_PROXY ") && !told.contains("s3cret"), "{told}");
            let exempt = found("", false, &[("HTTPS_PROXY", value), ("no_proxy", "*")]);
            assert_eq!(exempt, Ok(None), "{value}");
        }
    }
}
