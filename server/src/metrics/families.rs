//! Families that are made at a scrape from what their source knows then.
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// How a value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up, from 0 at the start of the process.
    Counter,
    /// Up and down.
    Gauge,
}

/// What sources say at one scrape.
#[derive(Default)]
pub struct Scrape {
    families: Vec<MetricFamily>,
}

impl Scrape {
    /// A counter without labels. `value` is below 2⁵³, from where on it would be rounded.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(Kind::Counter, name, help, &[], [([""; 0], value as f64)]);
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(Kind::Gauge, name, help, &[], [([""; 0], value)]);
    }

    /// A family with labels: for each row the labels' values, in the order of `labels`, and the value.
    /// They are written in the order of their names, as etcd does. Without rows there is no family.
    pub fn family<const N: usize, V: AsRef<str>>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        labels: &[&str; N],
        rows: impl IntoIterator<Item = ([V; N], f64)>,
    ) {
        let metrics: Vec<Metric> =
            rows.into_iter().map(|(values, value)| metric(kind, pairs(labels, &values), value)).collect();
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(match kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
        });
        family.set_metric(metrics);
        self.families.push(family);
    }

    pub(super) fn into_families(self) -> Vec<MetricFamily> {
        self.families
    }
}

fn pairs<V: AsRef<str>>(labels: &[&str], values: &[V]) -> Vec<LabelPair> {
    let pair = |(name, value): (&&str, &V)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.as_ref().to_owned());
        pair
    };
    let mut pairs: Vec<LabelPair> = labels.iter().zip(values).map(pair).collect();
    pairs.sort_by(|a, b| a.name().cmp(b.name()));
    pairs
}

fn metric(kind: Kind, labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::default();
    metric.set_label(labels);
    match kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
    }
    metric
}
