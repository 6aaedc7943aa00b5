//! `/debug/wear`: what the member has written and how long the device lasts, as JSON. It says no more than
//! `/metrics`, and is served wherever that is.
use axum::Router;
use axum::response::Response;
use axum::routing::any;
use http::{HeaderValue, Method, header};

use super::health::get_only;
use crate::node::client::Client;

/// The route.
pub fn routes(client: Client) -> Router {
    let wear = any(move |method: Method| {
        let client = client.clone();
        async move {
            match get_only(&method) {
                Some(refusal) => refusal,
                None => answer(&client),
            }
        }
    });
    Router::new().route("/debug/wear", wear)
}

fn answer(client: &Client) -> Response {
    let mut response = Response::new(format!("{:#}\n", client.wear().json()).into());
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
