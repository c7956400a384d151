// Shows the head of this page. Everything comes from the page itself, so that it works from disk, without a network.
(async () => {
  const element = (id) => document.getElementById(id);
  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const fail = (text) => { element("message").textContent = text; element("message").hidden = false; };

  try {
    // The modules of the viewer become blobs; the import map gives them the names that they import each other by.
    const imports = {};
    for (const script of document.querySelectorAll("script.module")) {
      const unpacked = new Blob([bytesOf(script.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
      const text = (await new Response(unpacked).text()).replaceAll("'./three.core.js'", "'three-core'");
      imports[script.dataset.name] = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
      script.remove();
    }
    const map = document.createElement("script");
    map.type = "importmap";
    map.textContent = JSON.stringify({ imports });
    document.head.append(map);
    const THREE = await import("three");
    const { OrbitControls } = await import("three/addons/controls/OrbitControls.js");
    const { SparkRenderer, SplatMesh } = await import("spark");

    const settings = JSON.parse(element("settings").textContent);
    const canvas = element("view");
    const renderer = new THREE.WebGLRenderer({ canvas, antialias: false });
    renderer.setPixelRatio(window.devicePixelRatio);
    const scene = new THREE.Scene();
    scene.background = new THREE.Color(settings.background);
    // Projects and blends as the Gaussians were trained: low-pass of 0.3 pixels, order by depth, down to 1/255.
    const spark = new SparkRenderer({
      renderer, preBlurAmount: 0.3, blurAmount: 0, maxStdDev: Math.sqrt(2 * Math.log(255)), minAlpha: 1 / 255,
      maxPixelRadius: 4096, sortRadial: false, accumExtSplats: true,
    });
    scene.add(spark);

    const { target: [x, y, z], distance } = settings;
    const camera = new THREE.PerspectiveCamera(settings.fieldOfView, 1, distance / 100, distance * 100);
    const azimuth = THREE.MathUtils.degToRad(settings.azimuth);
    const polar = THREE.MathUtils.degToRad(90 - settings.elevation);
    camera.position.setFromSphericalCoords(distance, polar, azimuth).add(new THREE.Vector3(x, y, z));
    const controls = new OrbitControls(camera, canvas);
    controls.target.set(x, y, z);
    controls.enableDamping = true;
    controls.minDistance = distance / 10;
    controls.maxDistance = distance * 5;
    controls.autoRotate = settings.autoRotate && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    controls.addEventListener("start", () => { controls.autoRotate = false; });
    canvas.addEventListener("dblclick", () => controls.reset());
    controls.saveState();

    const resize = () => {
      renderer.setSize(innerWidth, innerHeight, false);
      camera.aspect = innerWidth / innerHeight;
      // In a tall window, the width shows what the height shows in a wide one.
      const half = Math.tan(THREE.MathUtils.degToRad(settings.fieldOfView / 2)) / Math.min(1, camera.aspect);
      camera.fov = THREE.MathUtils.radToDeg(2 * Math.atan(half));
      camera.updateProjectionMatrix();
    };
    addEventListener("resize", resize);
    resize();

    const head = new SplatMesh({ fileBytes: bytesOf(element("head").textContent), fileType: "spz", extSplats: true });
    element("head").remove();
    scene.add(head);
    await head.initialized;

    let frames = 0;
    renderer.setAnimationLoop(() => {
      controls.update();
      renderer.render(scene, camera);
      if (++frames === 30) { // the Gaussians are sorted by then
        element("poster")?.classList.add("gone");
        document.documentElement.dataset.shown = head.numSplats;
      }
    });
  } catch (error) {
    fail(`This browser cannot show the head: ${error.message}`);
  }
})();
