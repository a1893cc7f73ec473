//! Calls of a daemon's commands: bounded in time, in number and in what they answer.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::KuboError;
use super::endpoint::{ApiUrl, Connector};
use crate::limits::{
    KUBO_CALLS_MAX, KUBO_ERROR_BYTES_MAX, KUBO_HEADER_BYTES_MAX, KUBO_IDLE_MAX, KUBO_IDLE_TIMEOUT,
    KUBO_JSON_BYTES_MAX, KUBO_LINE_BYTES_MAX, KUBO_LINES_MAX,
};

/// What a request carries.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The way to one daemon.
pub(super) struct Http {
    client: Client<Connector, Body>,
    url: ApiUrl,
    authorization: Option<HeaderValue>,
    calls: Arc<Semaphore>,
}

impl Http {
    pub(super) fn new(
        url: ApiUrl,
        connector: Connector,
        authorization: Option<HeaderValue>,
    ) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KUBO_IDLE_TIMEOUT)
            .pool_max_idle_per_host(KUBO_IDLE_MAX)
            .http1_max_buf_size(KUBO_HEADER_BYTES_MAX)
            .build(connector);
        Self {
            client,
            url,
            authorization,
            calls: Arc::new(Semaphore::new(KUBO_CALLS_MAX)),
        }
    }

    /// Calls a command. The answer has to be complete by the deadline.
    pub(super) async fn call(
        &self,
        command: &'static str,
        query: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Answer, KuboError> {
        let body = Empty::new().map_err(|never| match never {});
        self.send(command, query, None, body.boxed_unsync(), deadline)
            .await
    }

    /// Calls a command that takes a body.
    pub(super) async fn send(
        &self,
        command: &'static str,
        query: &[(&str, &str)],
        content_type: Option<HeaderValue>,
        body: Body,
        deadline: Instant,
    ) -> Result<Answer, KuboError> {
        let request = self.request(command, query, content_type, body)?;
        let calling = async {
            let permit = Arc::clone(&self.calls).acquire_owned().await;
            let permit = permit.map_err(|_| KuboError::Timeout { command })?;
            let response = self.client.request(request).await;
            let response = response.map_err(|error| self.unreachable(&error))?;
            Ok::<_, KuboError>((response, permit))
        };
        let (response, permit) = timeout_at(deadline, calling)
            .await
            .map_err(|_| KuboError::Timeout { command })??;
        Answer::of(command, response, permit, deadline).await
    }

    fn request(
        &self,
        command: &'static str,
        query: &[(&str, &str)],
        content_type: Option<HeaderValue>,
        body: Body,
    ) -> Result<Request<Body>, KuboError> {
        let mut uri = format!("{}/api/v0/{command}", self.url);
        for (n, (name, value)) in query.iter().enumerate() {
            uri.push(if n == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            uri.push_str(&escape(value));
        }
        let mut request = Request::post(uri)
            .body(body)
            .map_err(|_| KuboError::Address("a request cannot be made of it"))?;
        if let Some(content_type) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        if let Some(authorization) = &self.authorization {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    fn unreachable(&self, error: &Error) -> KuboError {
        let mut why = error.to_string();
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            why = format!("{why}: {source}");
            cause = source;
        }
        let api = self.url.to_string();
        KuboError::Unreachable { api, why }
    }
}

/// Writes what goes into a query so that it means nothing there.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// What a daemon answers, as it comes.
#[derive(Debug)]
pub(super) struct Answer {
    command: &'static str,
    body: Incoming,
    deadline: Instant,
    /// What came of a line that has not ended.
    rest: BytesMut,
    lines: usize,
    _permit: OwnedSemaphorePermit,
}

impl Answer {
    async fn of(
        command: &'static str,
        response: Response<Incoming>,
        permit: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> Result<Self, KuboError> {
        let status = response.status();
        let mut answer = Self {
            command,
            body: response.into_body(),
            deadline,
            rest: BytesMut::new(),
            lines: 0,
            _permit: permit,
        };
        if status.is_success() {
            return Ok(answer);
        }
        let body = match answer.read(KUBO_ERROR_BYTES_MAX).await {
            Ok(body) => body,
            Err(KuboError::Timeout { .. } | KuboError::TooLong { .. }) => Bytes::new(),
            Err(error) => return Err(error),
        };
        Err(KuboError::of_status(command, status.as_u16(), &body))
    }

    /// All of it, if that is not more than so many bytes.
    pub(super) async fn read(&mut self, bytes_max: usize) -> Result<Bytes, KuboError> {
        let mut bytes = BytesMut::new();
        while let Some(data) = self.data().await? {
            if bytes.len() + data.len() > bytes_max {
                let command = self.command;
                return Err(KuboError::TooLong { command, bytes_max });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    }

    /// One JSON document.
    pub(super) async fn json<T: DeserializeOwned>(mut self) -> Result<T, KuboError> {
        let bytes = self.read(KUBO_JSON_BYTES_MAX).await?;
        self.parse(&bytes)
    }

    /// The next of many JSON documents, one on each line.
    pub(super) async fn line<T: DeserializeOwned>(&mut self) -> Result<Option<T>, KuboError> {
        loop {
            let line = match self.rest.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let line = self.rest.split_to(end);
                    self.rest.advance(1);
                    line
                }
                None => match self.data().await? {
                    Some(data) => {
                        self.take(&data)?;
                        continue;
                    }
                    None if self.rest.trim_ascii().is_empty() => return Ok(None),
                    None => self.rest.split(),
                },
            };
            if !line.trim_ascii().is_empty() {
                self.lines += 1;
                if self.lines > KUBO_LINES_MAX {
                    return Err(self.unusable("too many lines"));
                }
                return self.parse(&line).map(Some);
            }
        }
    }

    pub(super) fn unusable(&self, what: &'static str) -> KuboError {
        let command = self.command;
        KuboError::Answer { command, what }
    }

    /// Takes in a part of a line. What comes at once is bounded by the connection's buffer.
    fn take(&mut self, data: &Bytes) -> Result<(), KuboError> {
        if self.rest.len() > KUBO_LINE_BYTES_MAX {
            let (command, bytes_max) = (self.command, KUBO_LINE_BYTES_MAX);
            return Err(KuboError::TooLong { command, bytes_max });
        }
        self.rest.extend_from_slice(data);
        Ok(())
    }

    fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, KuboError> {
        serde_json::from_slice(bytes).map_err(|_| self.unusable("it is not the JSON expected"))
    }

    /// The next bytes, or `None` at the end. A daemon that fails after it has begun to answer says
    /// so behind the end.
    async fn data(&mut self) -> Result<Option<Bytes>, KuboError> {
        let command = self.command;
        loop {
            let frame = timeout_at(self.deadline, self.body.frame()).await;
            let frame = frame.map_err(|_| KuboError::Timeout { command })?;
            let frame: Frame<Bytes> = match frame {
                None => return Ok(None),
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return Err(self.unusable("it breaks off")),
            };
            match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(frame) => {
                    if let Some(error) = frame.trailers_ref().and_then(stream_error) {
                        return Err(KuboError::of_status(command, 500, error));
                    }
                }
            }
        }
    }
}

fn stream_error(trailers: &HeaderMap) -> Option<&[u8]> {
    trailers.get("x-stream-error").map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_from_a_query() {
        assert_eq!(escape("/ip4/127.0.0.1/tcp/1"), "/ip4/127.0.0.1/tcp/1");
        assert_eq!(
            escape("a&force=true#é %"),
            "a%26force%3Dtrue%23%C3%A9%20%25"
        );
    }
}
