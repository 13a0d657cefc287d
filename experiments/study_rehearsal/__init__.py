"""A lead's rehearsal: a whole study on generated patients, with a site unplugged on the way, before anybody is asked."""
