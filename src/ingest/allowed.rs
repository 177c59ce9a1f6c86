//! Whose programs may hand over events.

use nix::unistd::User;

/// What the kernel shows for a user that has no number in our user namespace (`overflowuid`). It may
/// be anybody, so it never matches a list.
const UNMAPPED_UID: u32 = 65_534;

/// A name in `allow_uids` that this host does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no user {0:?} on this host; give a name that `getent passwd` lists, or a number")]
pub struct UnknownUser(pub String);

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedUids(Option<Vec<u32>>);

impl AllowedUids {
    /// Turns names and numbers into uids; none at all means everybody.
    ///
    /// # Errors
    /// If a name is not known.
    pub fn resolve(names: &[String]) -> Result<Self, UnknownUser> {
        if names.is_empty() {
            return Ok(Self(None));
        }
        let mut uids = Vec::with_capacity(names.len());
        for name in names {
            let uid = match name.parse::<u32>() {
                Ok(uid) => uid,
                Err(_) => uid_of(name)?,
            };
            if uid == UNMAPPED_UID {
                tracing::warn!(uid, "this uid in allow_uids never matches: it stands for unmapped users");
            }
            uids.push(uid);
        }
        Ok(Self(Some(uids)))
    }

    /// Whether `uid` may connect.
    pub fn allows(&self, uid: u32) -> bool {
        match &self.0 {
            None => true,
            Some(uids) => uid != UNMAPPED_UID && uids.contains(&uid),
        }
    }
}

fn uid_of(name: &str) -> Result<u32, UnknownUser> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) | Err(_) => Err(UnknownUser(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_match_and_the_unmapped_uid_never_does() {
        let names = ["root", "4711", "65534"].map(str::to_owned);

        let allowed = AllowedUids::resolve(&names).unwrap();

        assert!(allowed.allows(0));
        assert!(allowed.allows(4711));
        assert!(!allowed.allows(1));
        assert!(!allowed.allows(65_534));
        assert!(AllowedUids::resolve(&[]).unwrap().allows(65_534));
    }

    #[test]
    fn a_name_that_nobody_has_is_an_error() {
        let names = ["no-such-user-here".to_owned()];

        assert_eq!(AllowedUids::resolve(&names), Err(UnknownUser("no-such-user-here".to_owned())));
    }
}
