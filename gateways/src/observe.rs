//! What an operator sees of the running process: logs, numbers for Prometheus, and traces that
//! cross the broker.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::{HeaderMap, header};
use axum::routing::get;
use journal::broker::Broker;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use projections::QueryError;
use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::{Config, LogFormat};
use crate::http::health::{self, Lag};

/// How long the collector may take for one batch of spans.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// How often the recorder tidies up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How often the lag is measured.
const LAG_EVERY: Duration = Duration::from_secs(5);
/// Bounds of the histograms of seconds, from half a millisecond to ten seconds.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds of the histograms of counts.
const COUNTS: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0];

/// Logs warnings to a person's terminal: for commands that do one thing and end.
pub fn begin_quietly() {
    let filter = EnvFilter::try_from_env("RUST_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,journal::broker=error"));
    // Logging that was set up before stays as it is.
    let _ = Registry::default().with(logs(LogFormat::Text).with_filter(filter)).try_init();
}

/// What others say of every connection and of every table that is not there yet; `log` can ask for
/// it.
const QUIET: &str = "async_nats=warn,sqlx::postgres::notice=warn";

/// What was set up and has to be ended.
pub struct Observed {
    traces: Option<SdkTracerProvider>,
}

/// Sets up logging, and traces where a collector is configured. Once per process.
pub fn begin(config: &Config) -> anyhow::Result<Observed> {
    let (filter, chosen) = reload::Layer::new(filter_of(&config.log)?);
    let _ = LOG.set(chosen);
    let traces = config.otlp_endpoint.as_deref().map(exporter).transpose()?;
    let traced = traces.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("tapedeck"))
            .with_filter(tracing_subscriber::filter::LevelFilter::INFO)
    });
    Registry::default()
        .with(logs(config.log_format).with_filter(filter))
        .with(traced)
        .try_init()
        .context("logging was set up before")?;
    Ok(Observed { traces })
}

/// Changes what is logged from now on.
pub fn log_instead(log: &str) -> anyhow::Result<()> {
    let filter = filter_of(log)?;
    match LOG.get() {
        Some(chosen) => chosen.reload(filter).context("logging is over"),
        None => Ok(()),
    }
}

fn filter_of(log: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(format!("{QUIET},{log}"))
        .with_context(|| format!("log = {log:?} is not a level nor a list of them"))
}

/// Where [`log_instead`] reaches the running filter.
static LOG: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

impl Observed {
    /// Sends what was traced and not yet sent.
    pub async fn end(self) {
        let Some(traces) = self.traces else { return };
        let ended = tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(EXPORT_LIMIT));
        if let Ok(Err(error)) = ended.await {
            eprintln!("the last traces could not be sent: {error}");
        }
    }
}

fn logs(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if json {
        layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    } else {
        let coloured = terminal && std::env::var_os("NO_COLOR").is_none();
        layer.with_ansi(coloured).with_target(false).boxed()
    }
}

fn exporter(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let endpoint = endpoint.trim_end_matches('/');
    let endpoint = match endpoint.strip_suffix("/v1/traces") {
        Some(_) => endpoint.to_owned(),
        None => format!("{endpoint}/v1/traces"),
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_LIMIT)
        .build()
        .context("otlp_endpoint cannot be used")?;
    let resource = Resource::builder().with_service_name("tapedeck").build();
    let exporter = OnRuntime { exporter: Arc::new(exporter), runtime: Handle::current() };
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// An exporter whose requests run on our runtime: spans are batched on a thread that has none.
#[derive(Debug)]
struct OnRuntime<E> {
    exporter: Arc<E>,
    runtime: Handle,
}

impl<E: SpanExporter + 'static> SpanExporter for OnRuntime<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exporter = Arc::clone(&self.exporter);
        let export = self.runtime.spawn(async move { exporter.export(batch).await });
        export.await.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Nobody else has the exporter yet: this is called before the first export.
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

/// The recorder of numbers, set up the first time somebody asks.
pub fn record_metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    // Held until it is set up, so that of two who ask at once the second waits.
    let mut known = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*known {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets(&COUNTS))
        .and_then(PrometheusBuilder::install_recorder)
        .context("another recorder of metrics was set up before")?;
    Ok(known.insert(handle).clone())
}

/// Says how far the relay, the projections and the processes are behind, now and then, until told to stop.
pub async fn measure_lag(pool: PgPool, broker: Broker, stop: CancellationToken) {
    while tokio::time::timeout(LAG_EVERY, stop.cancelled()).await.is_err() {
        let mut lags = health::projections_behind(&pool).await.unwrap_or_default();
        lags.extend(health::processes_behind(&pool).await.unwrap_or_default());
        lags.extend(health::relay_behind(&pool, &broker).await);
        for Lag { name, position, events, seconds } in lags {
            metrics::gauge!("tapedeck_lag_events", "name" => name.clone()).set(events as f64);
            metrics::gauge!("tapedeck_lag_seconds", "name" => name.clone()).set(seconds);
            metrics::gauge!("tapedeck_position", "name" => name).set(position as f64);
        }
    }
}

/// Serves `/metrics` from what was recorded.
pub fn metrics_router(handle: PrometheusHandle) -> Router {
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut every = tokio::time::interval(UPKEEP_EVERY);
        loop {
            every.tick().await;
            upkeep.run_upkeep();
        }
    });
    let render = async move || {
        let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
        (kind, handle.render())
    };
    Router::new().route("/metrics", get(render))
}

/// Says that a part failed and begins again. That what it reads was not built yet is no failure: soon after the first start
/// it is.
pub fn begins_again(part: &str, error: &anyhow::Error) {
    let words = format!("{error:#}");
    match error.chain().any(|cause| matches!(cause.downcast_ref(), Some(QueryError::NotBuilt(_)))) {
        true => tracing::debug!(part, error = words, "begins again"),
        false => tracing::warn!(part, error = words, "begins again"),
    }
}

/// The trace that this code runs in, as W3C `traceparent`, to put into an envelope. `None` when
/// nothing is traced.
pub fn traceparent() -> Option<String> {
    let context = Span::current().context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = Carrier(None);
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.0
}

/// Makes `span` part of the trace that `traceparent` names.
pub fn adopt(span: &Span, traceparent: &str) {
    let context = TraceContextPropagator::new().extract(&Carrier(Some(traceparent.to_owned())));
    if context.span().span_context().is_valid() {
        // Fails only for a span that nobody traces.
        let _ = span.set_parent(context);
    }
}

/// Makes `span` part of the trace that a request names in its headers, if any.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if let Some(traceparent) = headers.get("traceparent").and_then(|value| value.to_str().ok()) {
        adopt(span, traceparent);
    }
}

/// The one field of a trace context that we carry.
struct Carrier(Option<String>);

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        if key == "traceparent" {
            self.0 = Some(value);
        }
    }
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.as_deref().filter(|_| key == "traceparent")
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_crosses_the_broker() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            let span = tracing::info_span!("command");
            adopt(&span, given);
            let carried = span.in_scope(traceparent).expect("traced");
            assert_eq!(&carried[..36], &given[..36], "the same trace");
            assert_ne!(&carried[36..52], &given[36..52], "another span");
            assert!(carried.ends_with("-01"));
        });
    }

    #[test]
    fn without_traces_nothing_is_carried() {
        let span = tracing::info_span!("command");
        adopt(&span, "nonsense");
        assert_eq!(span.in_scope(traceparent), None);
    }
}
