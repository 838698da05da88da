//! The object storage: photos, and what is made of them.

use crate::aws::{Aws, REQUEST_TIMEOUT, Request, accepted};
use crate::{Result, config};
use reqwest::{Response, Url};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a presigned URL is good for.
const URL_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// A bucket.
#[derive(Clone)]
pub struct Storage {
    aws: Aws,
    place: Arc<config::Storage>,
}

impl Storage {
    /// The bucket of this configuration; nothing is sent yet.
    pub fn new(aws: Aws, place: config::Storage) -> Self {
        Storage { aws, place: place.into() }
    }

    /// Stores an object.
    pub async fn put(&self, key: &str, content_type: &str, body: Vec<u8>) -> Result<()> {
        self.s3("PUT", key, Some(content_type), body).await.map(drop)
    }

    /// Fetches an object.
    pub async fn get(&self, key: &str) -> Result<Vec<u8>> {
        Ok(self.s3("GET", key, None, Vec::new()).await?.bytes().await?.to_vec())
    }

    /// Removes an object; one that is not there is no error.
    pub async fn remove(&self, key: &str) -> Result<()> {
        self.s3("DELETE", key, None, Vec::new()).await.map(drop)
    }

    /// Whether the bucket is there and may be used.
    pub async fn check(&self) -> Result<()> {
        self.s3("HEAD", "", None, Vec::new()).await.map(drop)
    }

    /// A URL with which anyone can fetch an object for a while: browsers, and pods as well.
    pub async fn presigned(&self, key: &str) -> Result<Url> {
        let url = self.object(self.place.public_endpoint.as_ref().or(self.aws.endpoint()), key)?;
        Ok(self.aws.signer().await?.presign("s3", "GET", &url, URL_LIFETIME, SystemTime::now()))
    }

    /// Fetches a URL as a browser would: no credentials but those in it.
    pub async fn fetch(&self, url: Url) -> Result<Vec<u8>> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let response = self.aws.http.get(url).timeout(REQUEST_TIMEOUT).send().await?;
        Ok(accepted(&host, response).await?.bytes().await?.to_vec())
    }

    async fn s3(
        &self,
        method: &str,
        key: &str,
        content_type: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Response> {
        let url = self.object(self.aws.endpoint(), key)?;
        let headers: Vec<_> = content_type.map(|value| ("content-type", value)).into_iter().collect();
        let timeout = REQUEST_TIMEOUT;
        self.aws.send(Request { service: "s3", method, url, headers: &headers, body, timeout }).await
    }

    /// Path-style with an endpoint of one's own, which has no names for buckets, else AWS's style.
    fn object(&self, endpoint: Option<&Url>, key: &str) -> Result<Url> {
        let (bucket, region) = (&self.place.bucket, self.aws.region());
        let url = match endpoint {
            Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.as_str().trim_end_matches('/')),
            None => format!("https://{bucket}.s3.{region}.amazonaws.com/{key}"),
        };
        // The bucket itself is named without a slash at its end.
        Ok(Url::parse(if key.is_empty() { url.trim_end_matches('/') } else { &url })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::double;

    fn storage(public_endpoint: Option<&str>) -> Storage {
        let public_endpoint = public_endpoint.map(|url| Url::parse(url).unwrap());
        let place = config::Storage { bucket: "photos".into(), public_endpoint };
        Storage::new(double(Some("http://aws:5000")).unwrap(), place)
    }

    #[tokio::test]
    async fn presigned_urls_use_the_public_endpoint() {
        let public = "http://aws.album.localhost:8080";
        let url = storage(Some(public)).presigned("a/b.jpg").await.unwrap();
        let start = format!("{public}/photos/a/b.jpg?X-Amz-Algorithm=");
        assert!(url.as_str().starts_with(&start));
    }

    #[test]
    fn without_an_endpoint_it_is_aws() {
        let storage = storage(None);
        let url = |key| storage.object(None, key).unwrap().to_string();
        let bucket = "https://photos.s3.ap-northeast-1.amazonaws.com/";
        assert_eq!(url("a/b.jpg"), format!("{bucket}a/b.jpg"));
        assert_eq!(url(""), bucket);
    }
}
