//! Does `/metrics` serve those who watch etcd today: the names, their meaning, Prometheus' own tools,
//! alert rules, a dashboard?
mod moves;
mod oracle;
mod prometheus;
mod rules;
mod table;
mod text;
mod world;
