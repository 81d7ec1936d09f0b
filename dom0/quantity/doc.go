// Package quantity reads and writes amounts the way people do: sizes in bytes
// ("512MiB", "1.5G"), processor shares ("1.5" CPUs), and ages ("3m", "5d").
//
// K, M, G and T alone mean the binary units, as in most virtualization tools;
// KB, MB, GB and TB are the decimal ones.
package quantity
