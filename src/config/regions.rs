//! The regions of Genesys Cloud and their hosts.
//!
//! Source: the vendor's table of regions (`api.<environment>`, `login.<environment>`). A region newer than this
//! table is reached with `upstream.api_url` and `upstream.login_url`.

use super::nearest::nearest;

/// Where the API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Region's name, e.g. `eu-central-1`; `None` with explicit URLs.
    pub region: Option<String>,
    /// Base URL of the API without a trailing slash.
    pub api_url: String,
    /// Base URL of the login host without a trailing slash.
    pub login_url: String,
}

/// A region and the domain under which its hosts live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Name of the AWS region, as in `upstream.region`.
    pub name: &'static str,
    /// Domain, e.g. `mypurecloud.de`.
    pub environment: &'static str,
}

const fn region(name: &'static str, environment: &'static str) -> Region {
    Region { name, environment }
}

/// Every region.
pub const REGIONS: [Region; 18] = [
    region("us-east-1", "mypurecloud.com"),
    region("eu-west-1", "mypurecloud.ie"),
    region("ap-southeast-2", "mypurecloud.com.au"),
    region("ap-northeast-1", "mypurecloud.jp"),
    region("eu-central-1", "mypurecloud.de"),
    region("us-west-2", "usw2.pure.cloud"),
    region("ca-central-1", "cac1.pure.cloud"),
    region("ap-northeast-2", "apne2.pure.cloud"),
    region("eu-west-2", "euw2.pure.cloud"),
    region("ap-south-1", "aps1.pure.cloud"),
    region("us-east-2", "use2.us-gov-pure.cloud"),
    region("sa-east-1", "sae1.pure.cloud"),
    region("me-central-1", "mec1.pure.cloud"),
    region("ap-northeast-3", "apne3.pure.cloud"),
    region("eu-central-2", "euc2.pure.cloud"),
    region("mx-central-1", "mxc1.pure.cloud"),
    region("ap-southeast-1", "apse1.pure.cloud"),
    region("eusc-de-east-1", "edee1.eusc-pure.cloud"),
];

impl Region {
    /// Where the region's API and login host are.
    pub fn endpoints(self) -> Endpoints {
        Endpoints {
            region: Some(self.name.to_owned()),
            api_url: format!("https://api.{}", self.environment),
            login_url: format!("https://login.{}", self.environment),
        }
    }
}

/// The region called `name`.
pub fn by_name(name: &str) -> Option<Region> {
    REGIONS.into_iter().find(|region| region.name == name)
}

/// What to do about a region that is not in the table: the one that was most likely meant.
///
/// People often write the domain from their browser's address bar, so that is recognised first.
pub fn hint(found: &str) -> String {
    let host = found.trim_start_matches("https://").trim_end_matches('/').to_ascii_lowercase();
    let by_domain = REGIONS
        .into_iter()
        .find(|region| host == region.environment || host.ends_with(&format!(".{}", region.environment)));
    if let Some(region) = by_domain {
        return format!("that is a region's domain; write \"{}\"", region.name);
    }
    match nearest(&host, REGIONS.map(|region| region.name)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => {
            "write the name of your organisation's region, or set upstream.api_url and upstream.login_url"
                .to_owned()
        }
    }
}

/// All names, for an error message.
pub fn all_names() -> String {
    let names: Vec<&str> = REGIONS.iter().map(|region| region.name).collect();
    names.join(", ")
}
