// MOSN as it is, built with today's Go: `mosn.io/mosn` is a library as well as a program, and a
// module of one's own that requires it can replace what can no longer be fetched.
module hangu.example/benches/peers/mosn

go 1.23

require mosn.io/mosn v1.1.0

// Used by MOSN's seata filter alone, and no longer to be fetched. The stand-ins have what it uses.
replace (
	vimagination.zapto.org/byteio => ./stand-ins/byteio
	vimagination.zapto.org/memio => ./stand-ins/memio
)
