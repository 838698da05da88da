//! Configuration by environment variables. An error names the variable, and all that are missing
//! are named at once.

use crate::Result;
use crate::credentials::{Source, WebIdentity};
use crate::sigv4::Credentials;
use reqwest::Url;
use std::str::FromStr;
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

/// Object storage and queue.
#[derive(Debug)]
pub struct Aws {
    /// Who asks.
    pub credentials: Source,
    /// The region of bucket and queue.
    pub region: String,
    /// Stands in for all of AWS where set (`AWS_ENDPOINT_URL`).
    pub endpoint: Option<Url>,
    /// The storage as browsers reach it (`S3_PUBLIC_ENDPOINT`); presigned URLs are made with it.
    pub public_endpoint: Option<Url>,
    /// Where photos and thumbnails are kept.
    pub bucket: String,
    /// Where the orders for thumbnails go.
    pub queue: Url,
}

impl Aws {
    /// Reads `AWS_REGION`, `AWS_ENDPOINT_URL` (none), `S3_PUBLIC_ENDPOINT` (none), `S3_BUCKET`,
    /// `THUMBNAIL_QUEUE_URL`, and either `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
    /// `AWS_SESSION_TOKEN` (none), or, without a key, `AWS_ROLE_ARN` and
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`: EKS gives them to pods whose service account has a role.
    pub fn from(lookup: Lookup) -> Result<Self> {
        let mut reader = Reader::new(lookup);
        let region = reader.required("AWS_REGION");
        let endpoint: Option<Url> = reader.optional("AWS_ENDPOINT_URL");
        let credentials = reader.credentials(&region, endpoint.as_ref());
        let public_endpoint = reader.optional("S3_PUBLIC_ENDPOINT");
        let bucket = reader.required("S3_BUCKET");
        let queue: Option<Url> = reader.parsed("THUMBNAIL_QUEUE_URL");
        match (queue, credentials) {
            (Some(queue), Some(credentials)) => {
                reader.finish(Aws { credentials, region, endpoint, public_endpoint, bucket, queue })
            }
            _ => Err(reader.failure()),
        }
    }
}

/// How the api listens.
#[derive(Debug, PartialEq)]
pub struct Http {
    /// TCP port, on all addresses.
    pub port: u16,
    /// How long requests in flight may take after SIGTERM.
    pub drain: Duration,
}

impl Http {
    /// Reads `PORT` (3000) and `DRAIN_SECONDS` (20).
    pub fn from(lookup: Lookup) -> Result<Self> {
        let mut reader = Reader::new(lookup);
        let http = Http { port: reader.or("PORT", 3000), drain: reader.seconds("DRAIN_SECONDS", 20) };
        reader.finish(http)
    }
}

/// How the worker takes its jobs.
#[derive(Debug, PartialEq)]
pub struct Jobs {
    /// The longest that one job may take; the grace after SIGTERM has to be longer.
    pub longest: Duration,
    /// How long one poll waits for a message.
    pub poll: Duration,
}

impl Jobs {
    /// Reads `JOB_TIMEOUT_SECONDS` (30) and `QUEUE_WAIT_SECONDS` (10).
    pub fn from(lookup: Lookup) -> Result<Self> {
        let mut reader = Reader::new(lookup);
        let jobs = Jobs {
            longest: reader.seconds("JOB_TIMEOUT_SECONDS", 30),
            poll: reader.seconds("QUEUE_WAIT_SECONDS", 10),
        };
        reader.finish(jobs)
    }
}

/// Collects what is wrong while a whole group of variables is read.
struct Reader<'a> {
    lookup: Lookup<'a>,
    missing: Vec<&'static str>,
    wrong: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(lookup: Lookup<'a>) -> Self {
        Reader { lookup, missing: Vec::new(), wrong: Vec::new() }
    }

    /// An empty variable counts as absent: templates write one for a value that is not set.
    fn optional<T: FromStr>(&mut self, name: &'static str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let value = (self.lookup)(name).filter(|value| !value.is_empty())?;
        // The value itself is not shown: it may be a secret in the wrong place.
        value.parse().map_err(|error| self.wrong.push(format!("{name}: {error}"))).ok()
    }

    fn parsed<T: FromStr>(&mut self, name: &'static str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let problems = self.wrong.len();
        let value = self.optional(name);
        if value.is_none() && self.wrong.len() == problems {
            self.missing.push(name);
        }
        value
    }

    fn required(&mut self, name: &'static str) -> String {
        self.parsed(name).unwrap_or_default()
    }

    fn or<T: FromStr>(&mut self, name: &'static str, default: T) -> T
    where
        T::Err: std::fmt::Display,
    {
        self.optional(name).unwrap_or(default)
    }

    /// None is a problem that is noted.
    fn credentials(&mut self, region: &str, endpoint: Option<&Url>) -> Option<Source> {
        let role: Option<String> = self.optional("AWS_ROLE_ARN");
        let key: Option<String> = self.optional("AWS_ACCESS_KEY_ID");
        if let (Some(role), None) = (role, &key) {
            let token_file = self.required("AWS_WEB_IDENTITY_TOKEN_FILE").into();
            let session = self.or("HOSTNAME", "album".to_owned());
            let service = format!("https://sts.{region}.amazonaws.com/");
            let endpoint = endpoint.cloned().or_else(|| Url::parse(&service).ok())?;
            return Some(Source::WebIdentity(WebIdentity { role, token_file, session, endpoint }));
        }
        Some(Source::Keys(Credentials {
            access_key: self.required("AWS_ACCESS_KEY_ID"),
            secret_key: self.required("AWS_SECRET_ACCESS_KEY"),
            session_token: self.optional("AWS_SESSION_TOKEN"),
        }))
    }

    fn seconds(&mut self, name: &'static str, default: u64) -> Duration {
        Duration::from_secs(self.or(name, default))
    }

    fn failure(&self) -> crate::Error {
        let mut problems = self.wrong.clone();
        if !self.missing.is_empty() {
            problems.insert(0, format!("missing environment variables: {}", self.missing.join(", ")));
        }
        problems.join("; ").into()
    }

    fn finish<T>(self, value: T) -> Result<T> {
        if self.missing.is_empty() && self.wrong.is_empty() { Ok(value) } else { Err(self.failure()) }
    }
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
        let error = Aws::from(&lookup(&[
            ("AWS_REGION", "r"),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("S3_BUCKET", "b"),
            ("THUMBNAIL_QUEUE_URL", "queue"),
        ]))
        .unwrap_err();
        assert_eq!(error.to_string(), "THUMBNAIL_QUEUE_URL: relative URL without a base");
    }

    #[test]
    fn without_keys_the_role_of_the_service_account_is_assumed() {
        let role: &[_] = &[
            ("AWS_REGION", "ap-northeast-1"),
            ("AWS_ROLE_ARN", "arn:aws:iam::333333333333:role/album"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
            ("HOSTNAME", "album-api-0"),
            ("S3_BUCKET", "b"),
            ("THUMBNAIL_QUEUE_URL", "https://sqs.ap-northeast-1.amazonaws.com/333333333333/q"),
        ];
        let Source::WebIdentity(identity) = Aws::from(&lookup(role)).unwrap().credentials else {
            panic!("no role")
        };
        assert_eq!(identity.endpoint.as_str(), "https://sts.ap-northeast-1.amazonaws.com/");
        assert_eq!(identity.session, "album-api-0");
        let keys = [role, &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")]].concat().leak();
        assert!(matches!(Aws::from(&lookup(keys)).unwrap().credentials, Source::Keys(_)));
        let missing = Aws::from(&lookup(&[("AWS_REGION", "r"), ("AWS_ROLE_ARN", "a")])).err().unwrap();
        assert_eq!(
            missing.to_string(),
            "missing environment variables: AWS_WEB_IDENTITY_TOKEN_FILE, S3_BUCKET, THUMBNAIL_QUEUE_URL"
        );
    }

    #[test]
    fn defaults() {
        let http = Http::from(&lookup(&[])).unwrap();
        assert_eq!(http, Http { port: 3000, drain: Duration::from_secs(20) });
    }
}
