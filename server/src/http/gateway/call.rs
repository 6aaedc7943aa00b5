//! A call of our own gRPC services, in this process: the same routes that serve the wire, so that tokens,
//! counters and limits hold here as there.
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use http::{Extensions, HeaderMap, HeaderValue, Request, header};
use http_body_util::BodyExt;
use tonic::{Code, Status};
use tower::Service;

use super::codec::PREFIX_BYTES;

/// Calls `rpc` with framed messages. `metadata` joins the headers that gRPC asks for.
///
/// # Errors
/// The status of a call that was refused before it began to answer.
pub(super) async fn begin<S>(
    routes: &Router,
    rpc: &'static str,
    metadata: HeaderMap,
    extensions: Extensions,
    messages: S,
) -> Result<Answers, Status>
where
    S: Stream<Item = Result<Bytes, Status>> + Send + 'static,
{
    let mut request = Request::new(Body::from_stream(messages));
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = http::Uri::from_static(rpc);
    *request.headers_mut() = metadata;
    *request.extensions_mut() = extensions;
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    let response: Response = match routes.clone().call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    match Status::from_header_map(response.headers()) {
        // A call that ends before it has begun has its status among the headers.
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(Answers { body: response.into_body(), buffer: BytesMut::new(), ended: false }),
    }
}

/// The messages of an answer, as they come. Dropping it ends the call.
pub(super) struct Answers {
    body: Body,
    buffer: BytesMut,
    /// The trailers have said that all is well.
    ended: bool,
}

impl Answers {
    /// The next message; `None` after the last.
    ///
    /// # Errors
    /// How the call ended, if not well.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.complete() {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.add(data),
                    Err(frame) => self.end(frame.trailers_ref())?,
                },
                Some(Err(error)) => return Err(Status::from_error(error.into_inner())),
                None if self.ended => return Ok(None),
                None => return Err(Status::internal("the answer has no end")),
            }
        }
    }

    fn add(&mut self, data: Bytes) {
        match data.try_into_mut() {
            // A large answer comes in one piece, which need not be copied.
            Ok(data) if self.buffer.is_empty() => self.buffer = data,
            Ok(data) => self.buffer.extend_from_slice(&data),
            Err(data) => self.buffer.extend_from_slice(&data),
        }
    }

    fn complete(&mut self) -> Option<Bytes> {
        let prefix = self.buffer.get(1..PREFIX_BYTES)?;
        let length = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
        if self.buffer.len() < PREFIX_BYTES + length {
            return None;
        }
        self.buffer.advance(PREFIX_BYTES);
        Some(self.buffer.split_to(length).freeze())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Status> {
        match trailers.and_then(Status::from_header_map) {
            Some(status) if status.code() != Code::Ok => Err(status),
            Some(_) => {
                self.ended = true;
                Ok(())
            }
            None => Ok(()),
        }
    }
}
