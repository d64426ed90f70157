'use strict';
// Replaced by the real preload when the branches are merged.
