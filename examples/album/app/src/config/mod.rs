//! Configuration by environment variables. An error names the variable, and all that are missing
//! are named at once.

mod reader;

use crate::Result;
use crate::credentials::Source;
use ipnet::IpNet;
use reader::Reader;
use reqwest::Url;
use std::time::Duration;

/// Where environment variables come from; tests bring their own.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The database's address and login.
#[derive(Debug, PartialEq)]
pub struct Database {
    /// Host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Name of the database.
    pub name: String,
    /// Login.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl Database {
    /// Reads `DATABASE_HOST`, `_PORT` (3306), `_NAME`, `_USER` and `_PASSWORD`.
    pub fn from(lookup: Lookup) -> Result<Self> {
        let mut reader = Reader::new(lookup);
        let database = Database {
            host: reader.required("DATABASE_HOST"),
            port: reader.or("DATABASE_PORT", 3306),
            name: reader.required("DATABASE_NAME"),
            user: reader.required("DATABASE_USER"),
            password: reader.required("DATABASE_PASSWORD"),
        };
        reader.finish(database)
    }
}

/// The cache's address, and what this environment's keys start with.
#[derive(Debug, PartialEq)]
pub struct Cache {
    /// `redis://HOST:PORT/DATABASE`.
    pub url: String,
    /// Environments may share one server; each key starts with this.
    pub prefix: String,
}

impl Cache {
    /// Reads `REDIS_URL` and `REDIS_PREFIX` (`album`).
    pub fn from(lookup: Lookup) -> Result<Self> {
        let mut reader = Reader::new(lookup);
        let cache = Cache {
            url: reader.required("REDIS_URL"),
            prefix: reader.or("REDIS_PREFIX", "album".to_owned()),
        };
        reader.finish(cache)
    }
}

/// How AWS is reached, and as whom.
#[derive(Debug)]
pub struct Aws {
    /// Who asks.
    pub credentials: Source,
    /// The region of buckets and queues.
    pub region: String,
    /// Stands in for all of AWS where set (`AWS_ENDPOINT_URL`).
    pub endpoint: Option<Url>,
}

impl Aws {
    /// Reads `AWS_REGION`, `AWS_ENDPOINT_URL` (none), and either `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` (none), or, without a key, `AWS_ROLE_ARN` and
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`: EKS gives them to pods whose service account has a role.
    pub fn from(lookup: Lookup) -> Result<Self> {
        let mut reader = Reader::new(lookup);
        let region = reader.required("AWS_REGION");
        let endpoint: Option<Url> = reader.optional("AWS_ENDPOINT_URL");
        match reader.credentials(&region, endpoint.as_ref()) {
            Some(credentials) => reader.finish(Aws { credentials, region, endpoint }),
            None => Err(reader.failure()),
        }
    }
}

/// Where photos are kept.
#[derive(Debug, PartialEq)]
pub struct Storage {
    /// The bucket of photos and of what is made of them.
    pub bucket: String,
    /// The storage as browsers reach it (`S3_PUBLIC_ENDPOINT`); presigned URLs are made with it.
    pub public_endpoint: Option<Url>,
}

impl Storage {
    /// Reads `S3_BUCKET` and `S3_PUBLIC_ENDPOINT` (none).
    pub fn from(lookup: Lookup) -> Result<Self> {
        let mut reader = Reader::new(lookup);
        let bucket = reader.required("S3_BUCKET");
        let public_endpoint = reader.optional("S3_PUBLIC_ENDPOINT");
        reader.finish(Storage { bucket, public_endpoint })
    }
}

/// The queue of the worker's jobs, from `THUMBNAIL_QUEUE_URL`.
pub fn thumbnail_queue(lookup: Lookup) -> Result<Url> {
    url(lookup, "THUMBNAIL_QUEUE_URL")
}

/// Where the worker's jobs end that failed too often, from `DEAD_LETTER_QUEUE_URL`.
pub fn dead_letter_queue(lookup: Lookup) -> Result<Url> {
    url(lookup, "DEAD_LETTER_QUEUE_URL")
}

/// The queue of shipping's orders, from `SHIPPING_QUEUE_URL`.
pub fn shipping_queue(lookup: Lookup) -> Result<Url> {
    url(lookup, "SHIPPING_QUEUE_URL")
}

/// Where shipping answers, from `SHIPPING_URL` (none: nothing can be ordered).
pub fn shipping(lookup: Lookup) -> Result<Option<Url>> {
    let mut reader = Reader::new(lookup);
    let url = reader.optional("SHIPPING_URL");
    reader.finish(url)
}

fn url(lookup: Lookup, name: &'static str) -> Result<Url> {
    let mut reader = Reader::new(lookup);
    match reader.parsed(name) {
        Some(url) => Ok(url),
        None => Err(reader.failure()),
    }
}

/// How a role listens.
#[derive(Debug, PartialEq)]
pub struct Http {
    /// TCP port, on all addresses.
    pub port: u16,
    /// How long new requests are still taken after SIGTERM, while readiness already says no.
    pub linger: Duration,
    /// How long requests in flight may take after that.
    pub drain: Duration,
}

impl Http {
    /// Reads `PORT` (3000), `LINGER_SECONDS` (0) and `DRAIN_SECONDS` (20).
    pub fn from(lookup: Lookup) -> Result<Self> {
        let mut reader = Reader::new(lookup);
        let http = Http {
            port: reader.or("PORT", 3000),
            linger: reader.seconds("LINGER_SECONDS", 0.0),
            drain: reader.seconds("DRAIN_SECONDS", 20.0),
        };
        reader.finish(http)
    }
}

/// Who may see the internal tool.
#[derive(Debug, PartialEq)]
pub struct Access {
    /// From these addresses.
    pub allowed: Vec<IpNet>,
    /// These are believed when they say for whom they forward, and how it came.
    pub proxies: Vec<IpNet>,
    /// Who did not come by HTTPS is sent there.
    pub https_only: bool,
}

impl Access {
    /// Reads `ADMIN_ALLOW` and `TRUSTED_PROXIES` (none), networks such as `10.0.0.0/8` with commas, and
    /// `ADMIN_HTTPS_ONLY` (`false`).
    pub fn from(lookup: Lookup) -> Result<Self> {
        let mut reader = Reader::new(lookup);
        let allowed: Networks = reader.parsed("ADMIN_ALLOW").unwrap_or_default();
        let proxies = reader.or("TRUSTED_PROXIES", Networks::default());
        let https_only = reader.or("ADMIN_HTTPS_ONLY", false);
        reader.finish(Access { allowed: allowed.0, proxies: proxies.0, https_only })
    }
}

#[derive(Default)]
struct Networks(Vec<IpNet>);

impl std::str::FromStr for Networks {
    type Err = ipnet::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').map(|network| network.trim().parse()).collect::<Result<_, _>>().map(Networks)
    }
}

/// How jobs are taken from a queue.
#[derive(Debug, PartialEq)]
pub struct Jobs {
    /// How long one poll waits for a message.
    pub poll: Duration,
    /// The longest that one job may take.
    pub longest: Duration,
    /// For how long a message, and the job in it, belongs to who received it.
    pub visibility: Duration,
    /// How long a job may go on after SIGTERM before it is given back.
    pub patience: Duration,
}

impl Jobs {
    /// Reads `QUEUE_WAIT_SECONDS` (10), `JOB_TIMEOUT_SECONDS` (30), `VISIBILITY_SECONDS` (15 more
    /// than the longest job) and `JOB_DRAIN_SECONDS` (as long as the longest job).
    pub fn from(lookup: Lookup) -> Result<Self> {
        let mut reader = Reader::new(lookup);
        let poll = reader.seconds("QUEUE_WAIT_SECONDS", 10.0);
        let longest = reader.seconds("JOB_TIMEOUT_SECONDS", 30.0);
        let visibility = reader.seconds("VISIBILITY_SECONDS", longest.as_secs_f64() + 15.0);
        let patience = reader.seconds("JOB_DRAIN_SECONDS", longest.as_secs_f64());
        reader.finish(Jobs { poll, longest, visibility, patience })
    }
}

/// How long jobs take at least, whatever there is to do: a small sample then loads a system as the
/// photos of production would.
#[derive(Debug, PartialEq)]
pub struct Floors {
    /// A thumbnail, and a run of a batch.
    pub job: Duration,
    /// A poster.
    pub poster: Duration,
}

impl Floors {
    /// Reads `JOB_FLOOR_SECONDS` (0) and `POSTER_FLOOR_SECONDS` (0).
    pub fn from(lookup: Lookup) -> Result<Self> {
        let mut reader = Reader::new(lookup);
        let floors = Floors {
            job: reader.seconds("JOB_FLOOR_SECONDS", 0.0),
            poster: reader.seconds("POSTER_FLOOR_SECONDS", 0.0),
        };
        reader.finish(floors)
    }
}

/// For how long a charge is remembered by its key, from `CHARGE_MEMORY_SECONDS` (a day): an order that
/// comes again within that time is not charged again.
pub fn charge_memory(lookup: Lookup) -> Result<Duration> {
    let mut reader = Reader::new(lookup);
    let memory = reader.seconds("CHARGE_MEMORY_SECONDS", 86_400.0);
    reader.finish(memory)
}

/// After how many days a photo is removed, from `EXPIRE_DAYS` (none: never).
pub fn expire_days(lookup: Lookup) -> Result<Option<u32>> {
    let mut reader = Reader::new(lookup);
    let days = reader.optional("EXPIRE_DAYS");
    reader.finish(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
    }

    #[test]
    fn all_missing_variables_are_named_at_once() {
        let error =
            Database::from(&lookup(&[("DATABASE_HOST", "mysql"), ("DATABASE_NAME", "")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "missing environment variables: DATABASE_NAME, DATABASE_USER, DATABASE_PASSWORD"
        );
    }

    #[test]
    fn a_wrong_value_names_its_variable_but_not_itself() {
        let error = Http::from(&lookup(&[("PORT", "s3cret")])).unwrap_err();
        assert_eq!(error.to_string(), "PORT: invalid digit found in string");
    }

    #[test]
    fn a_wrong_url_is_not_called_missing() {
        let error = thumbnail_queue(&lookup(&[("THUMBNAIL_QUEUE_URL", "queue")])).unwrap_err();
        assert_eq!(error.to_string(), "THUMBNAIL_QUEUE_URL: relative URL without a base");
        let error = shipping_queue(&lookup(&[])).unwrap_err();
        assert_eq!(error.to_string(), "missing environment variables: SHIPPING_QUEUE_URL");
    }

    #[test]
    fn without_keys_the_role_of_the_service_account_is_assumed() {
        let role: &[_] = &[
            ("AWS_REGION", "ap-northeast-1"),
            ("AWS_ROLE_ARN", "arn:aws:iam::333333333333:role/album"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
            ("HOSTNAME", "album-api-0"),
        ];
        let Source::WebIdentity(identity) = Aws::from(&lookup(role)).unwrap().credentials else {
            panic!("no role")
        };
        assert_eq!(identity.endpoint.as_str(), "https://sts.ap-northeast-1.amazonaws.com/");
        assert_eq!(identity.session, "album-api-0");
        let keys = [role, &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")]].concat().leak();
        assert!(matches!(Aws::from(&lookup(keys)).unwrap().credentials, Source::Keys(_)));
        let missing = Aws::from(&lookup(&[("AWS_ROLE_ARN", "a")])).err().unwrap();
        assert_eq!(
            missing.to_string(),
            "missing environment variables: AWS_REGION, AWS_WEB_IDENTITY_TOKEN_FILE"
        );
    }

    #[test]
    fn a_message_is_hidden_for_longer_than_the_longest_job_unless_told_otherwise() {
        let jobs = Jobs::from(&lookup(&[("JOB_TIMEOUT_SECONDS", "9.5")])).unwrap();
        assert_eq!((jobs.visibility, jobs.patience), (Duration::from_millis(24_500), jobs.longest));
        let error = Jobs::from(&lookup(&[("VISIBILITY_SECONDS", "-1")])).unwrap_err().to_string();
        assert!(error.starts_with("VISIBILITY_SECONDS: "), "{error}");
    }

    #[test]
    fn networks_are_listed_with_commas_and_nobody_is_trusted_unless_named() {
        let access = Access::from(&lookup(&[("ADMIN_ALLOW", "10.0.0.0/8, 192.0.2.7/32")])).unwrap();
        let shown: Vec<_> = access.allowed.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "192.0.2.7/32"]);
        assert!(access.proxies.is_empty());
        let error = Access::from(&lookup(&[("ADMIN_ALLOW", "10.0.0.0")])).unwrap_err().to_string();
        assert!(error.starts_with("ADMIN_ALLOW: "), "{error}");
    }

    #[test]
    fn defaults() {
        let http = Http::from(&lookup(&[])).unwrap();
        assert_eq!(http, Http { port: 3000, linger: Duration::ZERO, drain: Duration::from_secs(20) });
    }
}
