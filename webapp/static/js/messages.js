// The messages of a run's live socket, as webapp/runs/live/messages.py has them. Made by `python -m tests.wire`.

export const PROTOCOL = 1;

/**
 * New points of one series; `before` is the step of the point before them, None if they are its first.
 * @typedef {object} Points
 * @property {number} stage
 * @property {string} tag
 * @property {number|null} before
 * @property {Array<number>} steps
 * @property {Array<number|null>} values
 * @property {Array<number>} times
 */

/**
 * A line of the log; `step` is a warning's.
 * @typedef {object} Line
 * @property {number} stage
 * @property {number} seq
 * @property {number} time
 * @property {string} level
 * @property {string} message
 * @property {string} code
 * @property {number|null} step
 */

/**
 * A step has new samples; `key` is the key of the newest.
 * @typedef {object} NewSample
 * @property {number} stage
 * @property {number} step
 * @property {number} key
 */

/**
 * How far a page has read a stage: the rewinds it knows of, its last line, the last step of each tag, its newest
 * sample.
 * @typedef {object} Place
 * @property {number} rewinds
 * @property {number} log
 * @property {Object<string, number>} tags
 * @property {number} sample
 */

/**
 * The values of a run that change.
 * @typedef {object} RunState
 * @property {string} status
 * @property {string} sentence
 * @property {number} progress
 * @property {string} state
 * @property {string} eta
 * @property {bool} live
 */

/**
 * The values of a stage that change often.
 * @typedef {object} StageState
 * @property {number} id
 * @property {string} status
 * @property {string} text
 * @property {number} fraction
 * @property {number} rewinds
 * @property {number} attempt
 */

/**
 * The first message on a socket.
 * @typedef {object} Hello
 * @property {"hello"} type
 * @property {number} protocol
 */

/**
 * New data; parts without any are left out.
 * @typedef {object} Delta
 * @property {"delta"} type
 * @property {RunState} [run]
 * @property {Array<StageState>} [stages]
 * @property {Array<Points>} [points]
 * @property {Array<Line>} [log]
 * @property {Array<NewSample>} [samples]
 */

/**
 * The page's data is invalid or too old: it needs a snapshot.
 * @typedef {object} Resync
 * @property {"resync"} type
 */

/**
 * A page's position: how far it has read each stage.
 * @typedef {object} Subscribe
 * @property {Object<number, Place>} since
 */

/** @typedef {Hello|Delta|Resync} Message */

// What travels as an array, with names in the place of positions; and back.

/** @returns {Points} */
export const toPoints = ([stage, tag, before, steps, values, times]) => ({ stage, tag, before, steps, values, times });

/** @returns {Line} */
export const toLine = ([stage, seq, time, level, message, code, step]) => ({ stage, seq, time, level, message, code, step });

/** @returns {NewSample} */
export const toNewSample = ([stage, step, key]) => ({ stage, step, key });

/** @param {Place} place */
export const fromPlace = ({ rewinds, log, tags, sample }) => [rewinds, log, tags, sample];
