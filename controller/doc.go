// Package controller makes the cluster what the custom resources of warder say.
package controller
