//! `/metrics`: everything the member counts, in Prometheus' text format.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::response::Response;
use axum::routing::any;
use http::{HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;

use super::text;
use crate::metrics::{Kind, Metrics, Scrape};

/// The type of the text, as Prometheus asks for it.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Scrapes that may wait while one is answered; the next one is told to come again.
const WAITING_MAX: u64 = 16;

/// Answers scrapes, one at a time.
struct Scraper {
    metrics: Arc<Metrics>,
    turn: Semaphore,
    counts: Arc<Counts>,
}

/// Answers so far, and those under way.
#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    under_way: AtomicU64,
}

/// Serves `/metrics`, for any method as Go's handler does.
pub fn routes(metrics: Arc<Metrics>) -> Router {
    let counts = Arc::new(Counts::default());
    let told = counts.clone();
    metrics.add_source(move |scrape| told.tell(scrape));
    let scraper = Arc::new(Scraper { metrics, turn: Semaphore::new(1), counts });
    Router::new().route(
        "/metrics",
        any(move || {
            let scraper = scraper.clone();
            async move { scraper.answer().await }
        }),
    )
}

impl Scraper {
    async fn answer(self: Arc<Self>) -> Response {
        let _counted = UnderWay::begin(&self.counts);
        if self.counts.under_way.load(Ordering::Relaxed) > WAITING_MAX + 1 {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many scrapes are waiting, come again\n");
        }
        let Ok(_turn) = self.turn.acquire().await else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "the member stops\n");
        };
        let metrics = self.metrics.clone();
        match tokio::task::spawn_blocking(move || metrics.text()).await {
            Ok(all) => {
                self.counts.answered.fetch_add(1, Ordering::Relaxed);
                let mut response = Response::new(all.into());
                response.headers_mut().insert(header::CONTENT_TYPE, TEXT_FORMAT);
                response
            }
            Err(_) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                text(StatusCode::INTERNAL_SERVER_ERROR, "the scrape did not end\n")
            }
        }
    }
}

struct UnderWay<'a>(&'a Counts);

impl UnderWay<'_> {
    fn begin(counts: &Counts) -> UnderWay<'_> {
        counts.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(counts)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counts {
    fn tell(&self, scrape: &mut Scrape) {
        let codes = [("200", &self.answered), ("500", &self.failed), ("503", &self.refused)];
        scrape.family(
            Kind::Counter,
            "promhttp_metric_handler_requests_total",
            "Scrapes answered, by HTTP status.",
            &["code"],
            codes.map(|(code, count)| ([code], count.load(Ordering::Relaxed) as f64)),
        );
        let under_way = self.under_way.load(Ordering::Relaxed) as f64;
        scrape.gauge("promhttp_metric_handler_requests_in_flight", "Scrapes under way.", under_way);
    }
}
