//! The options of requests about users, locks and the server itself, for the grid.
use crate::options;
use crate::words::Request;
use crate::world::World;
use crate::world_auth::ROOT;

/// Adds the options of a request.
pub fn of(request: &Request, world: &World, found: &mut Vec<String>) {
    match request {
        Request::Authenticate(it) => {
            found.push(user(&it.name, world));
            found.push(format!("password={}", password(&it.password)));
        }
        Request::UserAdd(it) => {
            found.push(user(&it.name, world));
            found.push(format!("password={}", password(&it.password)));
            found.push(format!("no_password={:?}", it.options.map(|options| options.no_password)));
        }
        Request::UserGet(it) => found.push(user(&it.name, world)),
        Request::UserDelete(it) => found.push(user(&it.name, world)),
        Request::UserChangePassword(it) => {
            found.push(user(&it.name, world));
            let brought = if it.hashed_password.is_empty() { "alone" } else { "with a hash" };
            found.push(format!("password={} {brought}", password(&it.password)));
        }
        Request::UserGrantRole(it) => found.extend([user(&it.user, world), role(&it.role, world)]),
        Request::UserRevokeRole(it) => found.extend([user(&it.name, world), role(&it.role, world)]),
        Request::RoleAdd(it) => found.push(role(&it.name, world)),
        Request::RoleGet(it) => found.push(role(&it.role, world)),
        Request::RoleDelete(it) => found.push(role(&it.role, world)),
        Request::RoleGrantPermission(it) => {
            found.push(role(&it.name, world));
            let perm = it.perm.as_ref();
            found.push(perm.map_or("no permission".to_string(), |perm| {
                format!("type={} x range={}", perm.perm_type, options::keys(&perm.key, &perm.range_end))
            }));
        }
        Request::RoleRevokePermission(it) => found.push(role(&it.role, world)),
        Request::Lock(it) => found.push(options::lease("lease", it.lease, world)),
        Request::Campaign(it) => found.push(options::lease("lease", it.lease, world)),
        Request::Downgrade(it) => found.push(format!("action={}", it.action)),
        _ => {}
    }
}

fn user(name: &str, world: &World) -> String {
    let class = match name {
        "" => "none",
        ROOT => ROOT,
        name if world.auth.users.contains_key(name) => "known",
        _ => "unknown",
    };
    format!("user={class}")
}

fn role(name: &str, world: &World) -> String {
    let class = match name {
        "" => "none",
        ROOT => ROOT,
        name if world.auth.roles.contains(name) => "known",
        _ => "unknown",
    };
    format!("role={class}")
}

fn password(password: &str) -> &'static str {
    match password.len() {
        0 => "none",
        1..=72 => "some",
        _ => "above the limit",
    }
}
