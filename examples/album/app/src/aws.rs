//! The object storage and the queue, over their HTTP APIs.

use crate::Result;
use crate::config;
use crate::credentials::Provider;
use crate::sigv4::Signer;
use reqwest::{Client, Response, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long one request may take, beside the time that it waits for a message.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a presigned URL is good for.
const URL_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// A client of the object storage and of the queue.
#[derive(Clone)]
pub struct Aws {
    http: Client,
    shared: Arc<Shared>,
}

struct Shared {
    credentials: Provider,
    region: String,
    endpoint: Option<Url>,
    public_endpoint: Option<Url>,
    bucket: String,
    queue: Url,
}

/// An order for a thumbnail, as it travels through the queue.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Order {
    /// The photo's number.
    pub photo: u64,
}

/// A message that was received and is not yet deleted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    /// What names this delivery.
    pub receipt_handle: String,
    /// What was sent.
    pub body: String,
    #[serde(default)]
    attributes: std::collections::HashMap<String, String>,
}

impl Message {
    /// How often it was delivered, this time included.
    pub fn deliveries(&self) -> u32 {
        self.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
    }
}

impl Aws {
    /// A client for this configuration; nothing is sent yet.
    pub fn new(config: config::Aws) -> Result<Self> {
        let plain = config.endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http");
        if !plain && !cfg!(feature = "https") {
            let problem = "without an AWS_ENDPOINT_URL that starts with http:// this program has \
                           to be built with the feature https";
            return Err(problem.into());
        }
        let http = Client::builder().connect_timeout(Duration::from_secs(5)).build()?;
        let config::Aws { credentials, region, endpoint, public_endpoint, bucket, queue } = config;
        let credentials = Provider::new(credentials, http.clone());
        let shared = Shared { credentials, region, endpoint, public_endpoint, bucket, queue };
        Ok(Aws { http, shared: shared.into() })
    }

    /// Stores an object.
    pub async fn put(&self, key: &str, content_type: &str, body: Vec<u8>) -> Result<()> {
        self.s3("PUT", key, Some(content_type), body).await.map(drop)
    }

    /// Fetches an object.
    pub async fn get(&self, key: &str) -> Result<Vec<u8>> {
        Ok(self.s3("GET", key, None, Vec::new()).await?.bytes().await?.to_vec())
    }

    /// Whether the bucket is there and may be used.
    pub async fn bucket(&self) -> Result<()> {
        self.s3("HEAD", "", None, Vec::new()).await.map(drop)
    }

    /// A URL with which anyone can fetch an object for a while: browsers, and pods as well.
    pub async fn presigned(&self, key: &str) -> Result<Url> {
        let endpoint = self.shared.public_endpoint.as_ref().or(self.shared.endpoint.as_ref());
        let url = self.object(endpoint, key)?;
        Ok(self.signer().await?.presign("s3", "GET", &url, URL_LIFETIME, SystemTime::now()))
    }

    async fn signer(&self) -> Result<Signer> {
        let credentials = self.shared.credentials.get().await?;
        Ok(Signer { credentials, region: self.shared.region.clone() })
    }

    /// Fetches a URL as a browser would: no credentials but those in it.
    pub async fn fetch(&self, url: Url) -> Result<Vec<u8>> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let response = self.http.get(url).timeout(REQUEST_TIMEOUT).send().await?;
        Ok(accepted(&host, response).await?.bytes().await?.to_vec())
    }

    /// Puts an order into the queue.
    pub async fn send(&self, order: &Order) -> Result<()> {
        let body = serde_json::to_string(order)?;
        self.sqs("SendMessage", json!({ "MessageBody": body }), REQUEST_TIMEOUT).await.map(drop)
    }

    /// Takes the next message, and keeps it from others for `visibility`; none after `wait`.
    pub async fn receive(&self, wait: Duration, visibility: Duration) -> Result<Option<Message>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            #[serde(default)]
            messages: Vec<Message>,
        }
        let request = json!({
            "MaxNumberOfMessages": 1,
            "WaitTimeSeconds": wait.as_secs(),
            "VisibilityTimeout": visibility.as_secs(),
            "AttributeNames": ["ApproximateReceiveCount"],
        });
        let answer = self.sqs("ReceiveMessage", request, wait + REQUEST_TIMEOUT).await?;
        Ok(serde_json::from_value::<Answer>(answer)?.messages.pop())
    }

    /// Gives a message back: it is delivered again after `delay`, or goes to the dead-letter queue.
    pub async fn give_back(&self, message: &Message, delay: Duration) -> Result<()> {
        let request =
            json!({ "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": delay.as_secs() });
        self.sqs("ChangeMessageVisibility", request, REQUEST_TIMEOUT).await.map(drop)
    }

    /// The job is done: nobody gets this message again.
    pub async fn done(&self, message: &Message) -> Result<()> {
        let request = json!({ "ReceiptHandle": message.receipt_handle });
        self.sqs("DeleteMessage", request, REQUEST_TIMEOUT).await.map(drop)
    }

    /// Whether the queue is there and may be used.
    pub async fn queue(&self) -> Result<()> {
        let request = json!({ "AttributeNames": ["QueueArn"] });
        self.sqs("GetQueueAttributes", request, REQUEST_TIMEOUT).await.map(drop)
    }

    async fn s3(
        &self,
        method: &str,
        key: &str,
        content_type: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Response> {
        let url = self.object(self.shared.endpoint.as_ref(), key)?;
        let extra: Vec<_> = content_type.map(|value| ("content-type", value)).into_iter().collect();
        self.request("s3", method, url, &extra, body, REQUEST_TIMEOUT).await
    }

    async fn sqs(&self, action: &str, mut request: Value, timeout: Duration) -> Result<Value> {
        request["QueueUrl"] = self.shared.queue.as_str().into();
        let mut url = self.shared.endpoint.clone().unwrap_or_else(|| self.shared.queue.clone());
        url.set_path("/");
        let target = format!("AmazonSQS.{action}");
        let extra = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        let body = request.to_string().into_bytes();
        let answer = self.request("sqs", "POST", url, &extra, body, timeout).await?.bytes().await?;
        // Some actions answer with nothing at all.
        Ok(if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer)? })
    }

    async fn request(
        &self,
        service: &str,
        method: &str,
        url: Url,
        extra: &[(&str, &str)],
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Response> {
        let name = format!("{service} at {}", url.host_str().unwrap_or_default());
        let headers = self.signer().await?.headers(service, method, &url, extra, &body, SystemTime::now());
        let mut request = self.http.request(method.parse()?, url).timeout(timeout).body(body);
        for (key, value) in headers {
            request = request.header(key, value);
        }
        accepted(&name, request.send().await?).await
    }

    /// Path-style with an endpoint of one's own, which has no names for buckets, else AWS's style.
    fn object(&self, endpoint: Option<&Url>, key: &str) -> Result<Url> {
        let (bucket, region) = (&self.shared.bucket, &self.shared.region);
        let url = match endpoint {
            Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.as_str().trim_end_matches('/')),
            None => format!("https://{bucket}.s3.{region}.amazonaws.com/{key}"),
        };
        // The bucket itself is named without a slash at its end.
        Ok(Url::parse(if key.is_empty() { url.trim_end_matches('/') } else { &url })?)
    }
}

async fn accepted(name: &str, response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.text().await.unwrap_or_default();
    let body: String = body.chars().take(300).collect();
    Err(format!("{name} answered {status}: {body}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Source;
    use crate::sigv4::Credentials;

    fn aws(endpoint: Option<&str>, public_endpoint: Option<&str>) -> Result<Aws> {
        let credentials = Credentials { access_key: "a".into(), secret_key: "s".into(), session_token: None };
        let url = |text: &str| Url::parse(text).unwrap();
        Aws::new(config::Aws {
            credentials: Source::Keys(credentials),
            region: "ap-northeast-1".into(),
            endpoint: endpoint.map(url),
            public_endpoint: public_endpoint.map(url),
            bucket: "photos".into(),
            queue: url("http://aws:5000/123456789012/thumbnails"),
        })
    }

    #[tokio::test]
    async fn presigned_urls_use_the_public_endpoint() {
        let public = "http://aws.album.localhost:8080";
        let aws = aws(Some("http://aws:5000"), Some(public)).unwrap();
        let url = aws.presigned("a/b.jpg").await.unwrap();
        let start = format!("{public}/photos/a/b.jpg?X-Amz-Algorithm=");
        assert!(url.as_str().starts_with(&start));
    }

    #[test]
    fn without_an_endpoint_it_is_aws() {
        let aws = aws(Some("http://aws:5000"), None).unwrap();
        let url = |key| aws.object(None, key).unwrap().to_string();
        let bucket = "https://photos.s3.ap-northeast-1.amazonaws.com/";
        assert_eq!(url("a/b.jpg"), format!("{bucket}a/b.jpg"));
        assert_eq!(url(""), bucket);
    }

    #[cfg(not(feature = "https"))]
    #[test]
    fn a_build_without_https_says_so_at_start() {
        let error = aws(None, None).err().unwrap().to_string();
        assert!(error.starts_with("without an AWS_ENDPOINT_URL"), "{error}");
    }

    #[test]
    fn deliveries_are_counted() {
        let message = json!({
            "ReceiptHandle": "r",
            "Body": "{\"photo\":7}",
            "Attributes": {"ApproximateReceiveCount": "3"},
        });
        let message: Message = serde_json::from_value(message).unwrap();
        assert_eq!(message.deliveries(), 3);
        assert_eq!(serde_json::from_str::<Order>(&message.body).unwrap(), Order { photo: 7 });
    }
}
