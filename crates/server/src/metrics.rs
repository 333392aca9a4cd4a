use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::app::App;

/// Responses by the first digit of their status.
#[derive(Default)]
pub(crate) struct Responses([AtomicU64; 6]);

impl Responses {
    pub(crate) fn count(&self, status: StatusCode) {
        if let Some(class) = self.0.get(usize::from(status.as_u16() / 100)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// `GET /metrics`: counts and seconds in Prometheus' text format; never an id.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text(&app),
    )
}

fn text(app: &App) -> String {
    let counts = app.host.engine().counts();
    let mut text = Text(String::new());
    text.gauge("answers_running", "Answers in the batch.", counts.running);
    text.gauge("requests_waiting", "Requests in the queue.", counts.waiting);
    text.head(
        "requests_total",
        "Requests by what became of them.",
        "counter",
    );
    for (result, count) in [
        ("finished", counts.finished),
        ("cancelled", counts.cancelled),
        ("failed", counts.failed),
        ("overloaded", counts.overloaded),
    ] {
        text.line(&format!("requests_total{{result=\"{result}\"}}"), count);
    }
    text.counter(
        "prompt_tokens_total",
        "Prompt tokens that were computed.",
        counts.prompt_tokens,
    );
    text.counter(
        "cached_prompt_tokens_total",
        "Prompt tokens whose keys and values were cached.",
        counts.cached_tokens,
    );
    text.counter(
        "generated_tokens_total",
        "Ids that were sampled.",
        counts.generated_tokens,
    );
    text.counter("forward_passes_total", "Forward passes.", counts.steps);
    text.counter(
        "forward_seconds_total",
        "Time spent in forward passes.",
        counts.forward_time.as_secs_f64(),
    );
    text.head(
        "http_responses_total",
        "Responses by their status.",
        "counter",
    );
    for (class, count) in app.responses.0.iter().enumerate().skip(1) {
        let count = count.load(Ordering::Relaxed);
        text.line(
            &format!("http_responses_total{{class=\"{class}xx\"}}"),
            count,
        );
    }
    text.0
}

struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, help, "gauge");
        self.line(name, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, help, "counter");
        self.line(name, value);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(
            self.0,
            "# HELP equicrypt_{name} {help}\n# TYPE equicrypt_{name} {kind}"
        );
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "equicrypt_{name} {value}");
    }
}
