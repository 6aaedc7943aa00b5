//! Random locks and elections. Their keys are keys like others: `name/lease`, which plain puts hit too.
use bramble_proto::v3electionpb as el;
use bramble_proto::v3lockpb as lk;
use bramble_tests::chance::Chance;
use bytes::Bytes;

use crate::words::Request;
use crate::world::World;

/// Names of locks and elections; with the leases 1 to 6 the first makes keys that others put.
const NAMES: &[&[u8]] = &[b"k", b"k", b"a", b"", b"k/1"];

/// A request to Lock or Election.
pub fn request_to(rpc: &str, world: &World, chance: &mut Chance) -> Option<Request> {
    let name = Bytes::from_static(chance.pick::<&[u8]>(NAMES));
    let value = world.value(chance);
    Some(match rpc {
        "Lock" => Request::Lock(lk::LockRequest { name, lease: lease(world, chance) }),
        "Unlock" => Request::Unlock(lk::UnlockRequest { key: key(world, chance) }),
        "Campaign" => Request::Campaign(el::CampaignRequest { name, lease: lease(world, chance), value }),
        "Proclaim" => Request::Proclaim(el::ProclaimRequest { leader: leader(world, chance), value }),
        "Leader" => Request::Leader(el::LeaderRequest { name }),
        "Resign" => Request::Resign(el::ResignRequest { leader: leader(world, chance) }),
        _ => return None,
    })
}

/// Never 0, for which each server picks another.
fn lease(world: &World, chance: &mut Chance) -> i64 {
    let known = if chance.percent(10) { 0 } else { world.some_lease(chance) };
    if known == 0 { 987_654 } else { known }
}

fn key(world: &World, chance: &mut Chance) -> Bytes {
    if chance.percent(30) {
        return world.key(chance, 20);
    }
    key_of(chance.pick::<&[u8]>(NAMES), lease(world, chance))
}

fn leader(world: &World, chance: &mut Chance) -> Option<el::LeaderKey> {
    if chance.percent(5) {
        return None;
    }
    let name = chance.pick::<&[u8]>(NAMES);
    let lease = lease(world, chance);
    let key = match chance.below(20) {
        0 => Bytes::new(),
        1 | 2 => key(world, chance),
        _ => key_of(name, lease),
    };
    let held = world.held.get(&key).copied();
    let rev = held.filter(|_| !chance.percent(20)).unwrap_or_else(|| world.some_revision(chance));
    Some(el::LeaderKey { name: Bytes::from_static(name), key, rev, lease })
}

/// The key under which a lease waits for a name, or holds it.
pub fn key_of(name: &[u8], lease: i64) -> Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    [name, format!("/{sign}{:x}", lease.unsigned_abs()).as_bytes()].concat().into()
}
