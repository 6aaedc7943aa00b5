//! Every RPC under every identity: who may ask what, and what the others are told. Each column is a fresh
//! pair of servers with the same users, asked the same questions by one identity. A new RPC without a
//! question fails the test.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble_proto::METHODS;
use bramble_tests::certs::Certs;
use bramble_tests::chance::Chance;
use bramble_tests::process::Setup;
use bramble_tests::wire::Wire;

use crate::call::{Call, Identity};
use crate::questions::{self, Question};
use crate::session::Session;
use crate::side::Side;
use crate::words::{Outcome, Reply};
use crate::world::Kind;

/// RPCs that are not asked here, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("/grpc.health.v1.Health/Check", "it knows no users: compared by itself"),
    ("/grpc.health.v1.Health/Watch", "it knows no users: compared by itself"),
];
/// Columns that are asked side by side.
const LANES: usize = 6;
/// How long a token lives that is to end.
const TOKEN_TTL: Duration = Duration::from_secs(1);
/// How long its end may take to be seen.
const EXPIRED_WITHIN: Duration = Duration::from_secs(60);
/// The token that is given first: root's.
const ROOTS: Identity = Identity::Token(0);
/// The token that is given next.
const OWN: Identity = Identity::Token(1);

/// One column.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    /// Without users: everybody may everything.
    AuthOff,
    /// This token, whatever it is.
    Sends(Identity),
    /// One of [`questions::USERS`].
    User(&'static str),
    /// The same, after its token's time.
    Expired(&'static str),
    /// The same, after it was deleted.
    Deleted(&'static str),
    /// The same, after its permission was taken away.
    Changed(&'static str),
    /// A certificate with this name, and beside it perhaps a user's token.
    Certificate(&'static str, Option<&'static str>),
}

const COLUMNS: &[(&str, Who)] = &[
    ("auth off", Who::AuthOff),
    ("no token", Who::Sends(Identity::Nobody)),
    ("garbage", Who::Sends(Identity::Garbage("garbage"))),
    ("unknown token", Who::Sends(Identity::Garbage("abcdefghijklmnop.1"))),
    ("no roles", Who::User("bare")),
    ("READ on the key", Who::User("reader")),
    ("WRITE on the key", Who::User("writer")),
    ("READWRITE on the range", Who::User("exact")),
    ("READWRITE on half of it", Who::User("half")),
    ("READWRITE on a prefix", Who::User("prefix")),
    ("root", Who::User("root")),
    ("a second root", Who::User("second")),
    ("expired token", Who::Expired("exact")),
    ("deleted user", Who::Deleted("exact")),
    ("changed user", Who::Changed("exact")),
    ("CN exact", Who::Certificate("exact", None)),
    ("CN root", Who::Certificate("root", None)),
    ("CN unknown", Who::Certificate("stranger", None)),
    ("CN bare + token exact", Who::Certificate("bare", Some("exact"))),
];

/// What was answered: question → outcome → columns.
type Matrix = BTreeMap<usize, BTreeMap<String, Vec<&'static str>>>;

/// Asks everything, prints the matrix and returns what differs.
pub async fn ask(setups: &[Setup; 2]) -> Vec<String> {
    let asked = questions::all();
    let unasked = METHODS.iter().map(|method| method.path).filter(|path| {
        !asked.iter().any(|question| question.request.path() == *path)
            && !ELSEWHERE.iter().any(|(known, _)| known == path)
    });
    let unasked: Vec<&str> = unasked.collect();
    assert!(unasked.is_empty(), "RPCs that nobody asks: {unasked:?}");

    let mut matrix = Matrix::new();
    let mut differences = Vec::new();
    for columns in COLUMNS.chunks(LANES) {
        let asked = columns.iter().map(|column| tokio::spawn(one(setups.clone(), *column)));
        let asked: Vec<_> = asked.collect();
        for (lane, (name, _)) in asked.into_iter().zip(columns) {
            let (outcomes, failed) = lane.await.expect("a column does not panic");
            for (row, outcome) in outcomes.into_iter().enumerate() {
                matrix.entry(row).or_default().entry(outcome).or_default().push(name);
            }
            differences.extend(failed.into_iter().map(|what| format!("{name}: {what}")));
        }
    }
    print(&asked, &matrix);
    differences
}

fn print(asked: &[Question], matrix: &Matrix) {
    for (row, outcomes) in matrix {
        let question = &asked[*row];
        println!("{} {}", question.request.path(), question.about);
        for (outcome, columns) in outcomes {
            println!("    {outcome:<60} {}", columns.join(" · "));
        }
    }
}

/// One column: what the oracle said to each question, and what differed.
async fn one(setups: [Setup; 2], (_, who): (&'static str, Who)) -> (Vec<String>, Vec<String>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let certs = Certs::make_for(dir.path(), &["exact", "root", "stranger", "bare"]);
    let sides = start(setups, &certs, who).await;
    let mut session = Session::new(sides, Kind::Auth, Chance::from_seed(1), Arc::default());
    let identity = match prepare(&mut session, &certs, who).await {
        Ok(identity) => identity,
        Err(what) => return (Vec::new(), vec![format!("before the questions: {what}")]),
    };
    let (mut outcomes, mut differences) = (Vec::new(), Vec::new());
    for question in questions::all() {
        let allowed: usize = session.counts.known.iter().sum();
        match session.answer(Call::by(identity, question.request)).await {
            Ok(outcome) => {
                let differs = session.counts.known.iter().sum::<usize>() > allowed;
                outcomes.push(format!("{}{}", told(&outcome), if differs { " (differs)" } else { "" }));
            }
            Err(what) => {
                outcomes.push("DIFFERS".to_string());
                differences.push(format!("{} {what}", question.about));
            }
        }
    }
    (outcomes, differences)
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Err(refused) => format!("{:?} {}", refused.code, refused.text),
        Ok(Reply::Watch(created)) if created.canceled => created.cancel_reason.clone(),
        Ok(_) => "OK".to_string(),
    }
}

async fn start(setups: [Setup; 2], certs: &Certs, who: Who) -> [Side; 2] {
    let setups = setups.map(|setup| match who {
        Who::Expired(_) => setup.arg(format!("--auth-token-ttl={}", TOKEN_TTL.as_secs())),
        Who::Certificate(..) => certs.server_flags().into_iter().fold(setup.https(), Setup::arg),
        _ => setup,
    });
    match who {
        Who::Certificate(..) => tokio::join!(
            Side::start_with_certificate(&setups[0], certs, "client"),
            Side::start_with_certificate(&setups[1], certs, "client")
        )
        .into(),
        _ => Side::start_both(&setups).await,
    }
}

/// Makes keys, leases and users, and brings the identity into the state it is to be in.
async fn prepare(session: &mut Session, certs: &Certs, who: Who) -> Result<Identity, String> {
    for request in questions::before() {
        session.call(request).await?;
    }
    if who == Who::AuthOff {
        return Ok(Identity::Nobody);
    }
    session.call(questions::enable()).await?;
    session.call(questions::authenticate("root")).await?;
    let own = match who {
        Who::User(name) | Who::Expired(name) | Who::Deleted(name) | Who::Changed(name) => Some(name),
        Who::Certificate(_, token) => token,
        Who::AuthOff | Who::Sends(_) => None,
    };
    if let Some(name) = own {
        session.call(questions::authenticate(name)).await?;
    }
    match who {
        Who::Sends(identity) => return Ok(identity),
        Who::Deleted(name) => session.call(Call::by(ROOTS, questions::delete(name))).await?,
        Who::Changed(name) => session.call(Call::by(ROOTS, questions::revoke(name))).await?,
        Who::Expired(name) => await_expiry(session, name).await?,
        Who::Certificate(name, _) => {
            for side in &mut session.sides {
                side.wire = Wire::connect_as(side.url(), certs, name).await;
            }
        }
        Who::AuthOff | Who::User(_) => {}
    }
    Ok(if own.is_some() { OWN } else { Identity::Nobody })
}

/// To ask with a token lets it live on, so every look comes after its time.
async fn await_expiry(session: &mut Session, name: &str) -> Result<(), String> {
    let deadline = Instant::now() + EXPIRED_WITHIN;
    let look = Call::by(OWN, questions::user_get(name));
    loop {
        tokio::time::sleep(2 * TOKEN_TTL + TOKEN_TTL / 2).await;
        let [first, second] = &mut session.sides;
        let (theirs, ours) = tokio::join!(first.call(&look), second.call(&look));
        if theirs.is_err() && ours.is_err() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("a token lives on: {theirs:?} {ours:?}"));
        }
    }
}

/// gRPC's own health service, which answers everybody alike.
pub async fn compare_health(sides: &[Side; 2]) -> Result<(), String> {
    for service in ["", "etcdserverpb.KV"] {
        let [theirs, ours] = [health(&sides[0], service).await, health(&sides[1], service).await];
        if theirs != ours {
            return Err(format!("health of {service:?}: etcd {theirs:?}, bramble {ours:?}"));
        }
    }
    Ok(())
}

async fn health(side: &Side, service: &str) -> Vec<String> {
    let asked = || bramble_proto::health::HealthCheckRequest { service: service.to_string() };
    let check = side.wire.health().check(asked()).await;
    let check = check.map(tonic::Response::into_inner).map_err(crate::words::Refused::from);
    let watch = crate::words::first(side.wire.health().watch(asked())).await;
    let watch = watch.map_err(crate::words::Refused::from);
    vec![format!("{check:?}"), format!("{watch:?}")]
}
