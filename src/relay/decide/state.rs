//! The states of a lane.

/// Whether a lane delivers, and if not, why not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LaneState {
    /// Delivers, or has nothing to deliver.
    #[default]
    Running,
    /// Waits after a fault that passes by itself.
    BackingOff,
    /// The API does not accept our credentials.
    Unauthorized,
    /// The credentials lack a permission.
    Forbidden,
    /// Address, network or directory do not fit.
    Misconfigured,
    /// An operator said so.
    Paused,
}

impl LaneState {
    /// All states.
    pub const ALL: [LaneState; 6] = [
        LaneState::Running,
        LaneState::BackingOff,
        LaneState::Unauthorized,
        LaneState::Forbidden,
        LaneState::Misconfigured,
        LaneState::Paused,
    ];

    /// Text in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            LaneState::Running => "running",
            LaneState::BackingOff => "backing_off",
            LaneState::Unauthorized => "unauthorized",
            LaneState::Forbidden => "forbidden",
            LaneState::Misconfigured => "misconfigured",
            LaneState::Paused => "paused",
        }
    }
}
